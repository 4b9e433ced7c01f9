"""What is deployed: the Helm chart, the examples beside it, the image."""
