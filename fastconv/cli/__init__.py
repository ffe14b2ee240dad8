"""Common ground of the commands: options, mistakes as one line, progress, streams."""
