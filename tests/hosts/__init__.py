"""A service, a database, a learner and workers on hosts of their own: network namespaces that a test can tear apart."""
