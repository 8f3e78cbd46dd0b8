"""`batch` and `abatch`: a run whose calls travel in a provider's batches, by capture and replay.

Imported by the first run that asks for it. What happens in which order is `_drive.batch.turns`'; here items run as far
as they go, and the two colours wait and send.
"""

from fanmap._batch.colours import awaited, run_awaiting, run_blocking
from fanmap._batch.options import check_options
from fanmap._batch.run import BatchRun

__all__ = ["BatchRun", "awaited", "check_options", "run_awaiting", "run_blocking"]
