"""What ends a command with a message instead of a traceback."""


class CommandError(Exception):
    """A command cannot do what the user asked for; the message says what to change."""
