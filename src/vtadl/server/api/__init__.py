"""The routes for machines, under /v1."""
