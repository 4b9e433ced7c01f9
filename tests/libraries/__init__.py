"""The libraries that people train with, really run."""
