"""What goes over the wire: messages, clocks, keys."""
