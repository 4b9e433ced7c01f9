"""The arms that run in processes of their own: each a program that reads parameters and ends in ``arm_main``."""
