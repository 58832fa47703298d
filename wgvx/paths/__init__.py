"""What the path to each peer carries: probes, and what their echoes tell. Sans-IO."""
