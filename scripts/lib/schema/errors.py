"""What is wrong with a user's input, one clear line for each problem."""


class InputError(Exception):
    """Bad input from the user: configuration, data file or command line.

    `problems` holds one line each, naming the file, the key and what is allowed. Programs print
    them to stderr and exit with a code other than 0; they never show a traceback for this.
    """

    def __init__(self, *problems: str):
        """Refuse the input because of `problems`, one line each."""
        super().__init__("\n".join(problems))
        self.problems = problems
