"""The one exception that means "the user can correct this"."""


class UserError(ValueError):
    """A mistake the user can correct: bad file, bad option, bad config.

    The message is one clear line: what is wrong, where, and what to do. The command line prints it on standard error
    and exits with code 2, without a traceback.
    """
