"""Programs that show the service at work: the demo on one machine, and the cluster form."""
