"""One sliding-sync connection: request, response, apply, loop."""
