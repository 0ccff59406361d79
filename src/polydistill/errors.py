"""The errors that polydistill raises for a person to read, and nothing else.

PolydistillError            a run failed                                        exit code 1
├── TeacherError            the LLM could not be asked, or refused              exit code 1
├── ParamsError             params.yaml or an option is wrong                   exit code 2
├── DataError               an input file is missing, unreadable or wrong       exit code 2
└── MissingExtraError       an optional dependency is not installed             exit code 2
"""


class PolydistillError(Exception):
    """A failure whose message says what is wrong, where, and what to do next."""

    exit_code = 1


class TeacherError(PolydistillError):
    """The teacher could not be asked, or did not answer."""


class ParamsError(PolydistillError):
    """A setting is unknown, of the wrong type or impossible."""

    exit_code = 2


class DataError(PolydistillError):
    """An input file or folder is missing, unreadable or wrong."""

    exit_code = 2


class MissingExtraError(PolydistillError):
    """A step needs an optional dependency that is not installed."""

    exit_code = 2
