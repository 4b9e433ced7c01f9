"""Eyes on a service: what it counts while it serves, and how Prometheus reads it."""
