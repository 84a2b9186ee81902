"""What the command `samsum-stream` can do, one file a subcommand; a user's error is raised as in Python."""
