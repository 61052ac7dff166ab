"""The three sweeps of a master file, each as blocks in order."""

from scripts.lib.kinds.inference.matrix.blocks import Block, blocks, highest_tp
from scripts.lib.kinds.inference.matrix.filters import Filters
from scripts.lib.kinds.inference.matrix.loading import Master
from scripts.lib.kinds.inference.matrix.runners import Runners, unknown
from scripts.lib.schema.collector import paused_collector
from scripts.lib.schema.errors import InputError

# `max-model-len` of the points of a runner model sweep, tokens: a 1k1k request and nothing more.
TEST_MODEL_LEN = 2048


@paused_collector()
def full_sweep(
    master: Master, filters: Filters, step_size: int = 2, test_mode: bool = False
) -> list[Block]:
    """All entries, filtered; `test_mode` keeps one point per entry and sequence length.

    The test point is chosen among what the filters keep. Raises InputError for a runner type that
    the runner file does not know, or without a runner file.
    """
    for runner_type in filters.runner_type:
        _runners(master, "runner-type").nodes(runner_type)
    kept = filters.apply(blocks(master.entries, step_size))
    return highest_tp(kept) if test_mode else kept


def single_config(
    master: Master,
    key: str,
    runner_node: str | None = None,
    filters: Filters | None = None,
    step_size: int = 2,
    test_mode: bool = False,
) -> list[Block]:
    """One entry, on the node `runner_node` if one is given, with no tokens to spare.

    `test_mode` keeps each block's lowest concurrency. Raises InputError for an entry or a node
    that is not known.
    """
    if key not in master.entries:
        raise InputError(unknown("entry", key, list(master.entries)))
    entry = master.entries[key]
    found = (filters or Filters()).apply(blocks({key: entry}, step_size, extra_tokens=0))
    if runner_node is not None:
        nodes = _runners(master, "runner-node").nodes(entry.runner)
        if runner_node not in nodes:
            raise InputError(unknown(f"{entry.runner} node", runner_node, nodes))
        found = [block.changed(runner=runner_node) for block in found]
    if test_mode:
        name = f"{entry.model_prefix}_test"
        found = [block.changed(conc=(min(block.conc),), exp_name=name) for block in found]
    return found


def runner_model_sweep(master: Master, runner_type: str) -> list[Block]:
    """Every configuration of a runner type on every node of it: one short 1k1k point each.

    Raises InputError for an unknown runner type, and with a line for each configuration that has
    no 1k1k block.
    """
    nodes = _runners(master, "runner-type").nodes(runner_type)
    entries = {name: e for name, e in master.entries.items() if e.runner == runner_type}
    points = highest_tp(Filters(seq_lens=("1k1k",)).apply(blocks(entries, step_size=2)))
    missing = entries.keys() - {block.entry for block in points}
    if missing:
        raise InputError(
            *(
                f"{master.places[name]}: {name}.seq-len-configs: has no item of isl and osl "
                "1024 (1k1k), which runner-model-sweep runs"
                for name in entries
                if name in missing
            )
        )
    return [
        block.changed(
            runner=node,
            max_model_len=TEST_MODEL_LEN,
            exp_name=f"{block.settings['model-prefix']}_test",
        )
        for block in points
        for node in nodes
    ]


def _runners(master: Master, option: str) -> Runners:
    if master.runners is None:
        raise InputError(f"--{option} needs --runner-config")
    return master.runners
