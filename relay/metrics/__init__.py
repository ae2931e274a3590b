"""What Prometheus is told of a node: figures that are kept anyway, read when somebody asks."""
