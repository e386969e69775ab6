"""A small book shop that shows what flask_redis_kit does: `make demo`."""
