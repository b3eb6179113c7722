"""The one error that the command line shows without a traceback."""


class UsageError(Exception):
    """What the user asked for cannot be done; the message says what is wrong and how to mend it, in one line."""


def one_line(message: str) -> str:
    """The message with every character escaped that does not print, such as a line break in the name of a file."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in message
    )
