"""The subcommands of `coupling`, one function each. Heavy packages are imported when a command runs."""
