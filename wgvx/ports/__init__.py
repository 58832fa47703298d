"""Where frames enter and leave a node."""
