"""What runs in an arm; most are programs that run in processes of their own: read parameters, end in ``arm_main``."""
