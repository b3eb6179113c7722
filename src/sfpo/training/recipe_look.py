"""What can be said of the recipe that `sfpo plan` reads: it is one of `sfpo train`, and a misspelt key would change no figure."""

from collections.abc import Sequence

from sfpo.options import config_of
from sfpo.plan.options import parser
from sfpo.training.first_look import check_keys
from sfpo.training.known_options import known_options


def first_look(arguments: Sequence[str]) -> None:
    """Refuse keys that neither command has.

    Raises:
        UsageError: naming them.
    """
    config = config_of(arguments)
    try:
        known_options()
    except ModuleNotFoundError:  # a plan needs no TRL
        return
    of_plan = {action.dest for action in parser()._actions}
    check_keys({name: value for name, value in config.items() if name not in of_plan | {"env"}})
