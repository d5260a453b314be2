"""How an effective batch is shared out. Without torch: it is checked before any job starts."""

from ldae.errors import UserError


def check_batch(stage: str, batch_size: int, micro_batch: int, processes: int) -> None:
    """Check that batch_size = micro_batch x accumulation x processes has a whole accumulation.

    Raises:
        UserError: naming the three keys of the stage's section and batch sizes that would do.
    """
    together = micro_batch * processes
    if batch_size < together or batch_size % together:
        low = batch_size // together * together
        nearest = f"{low} or {low + together}" if low else f"{together}"
        raise UserError(
            f"{stage}.batch_size is {batch_size}, which is not a multiple of {stage}.micro_batch x "
            f"{stage}.processes = {micro_batch} x {processes} = {together}; use {nearest}, or "
            "lower micro_batch or processes."
        )
