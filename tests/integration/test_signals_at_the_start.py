"""SIGTERM and SIGINT before any job has begun, also to the first process of a container."""
