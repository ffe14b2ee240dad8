"""What the commands share: options, mistakes as one line, progress, streams."""
