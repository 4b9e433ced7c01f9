"""Faults at the service's boundary: killed processes, cut connections, lost databases, copied files."""
