"""The routes for people: pages, and the fragments that they fetch."""
