"""Calls on a Dask cluster, which queues and retries them; each leaves its result in the cache, which all workers share."""

import functools
import io
import os
import pickle
import re
import traceback
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from facekit.errors import DataError, FacekitError, ParameterError
from facekit.paths import cache_folder, write_text
from facekit.progress import CHANNEL, track

WORKERS, SCHEDULER = "FACEKIT_WORKERS", "FACEKIT_SCHEDULER"  # set by `facekit run --workers` and `--scheduler`
PACKAGES = ("distributed", "facekit", "keras", "numpy", "tensorflow")


def is_used() -> bool:
    """Return whether calls go to a cluster."""
    return bool(os.environ.get(WORKERS) or os.environ.get(SCHEDULER))


def choose(workers: str | None, scheduler: str | None) -> None:
    """Say for notebooks that start from here where calls go; ParameterError as `connect`, or unless one alone is given."""
    if workers and scheduler or workers and not re.fullmatch("[1-9][0-9]{0,3}", workers):
        raise ParameterError(f"--workers {workers}", expected="at least 1, and no --scheduler")
    os.environ |= {name: value for name, value in ((WORKERS, workers), (SCHEDULER, scheduler)) if value}
    if scheduler or workers and not find_spec("distributed"):
        connect().close()


@functools.cache
def connect():
    """Return Dask's client; ParameterError: Dask is not installed, no scheduler answers, or a worker has other versions."""
    # Else Dask looks at a worker's stack a hundred times a second, and tracing a network takes a third longer.
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ParameterError(f"Dask is not installed ({error})", hint="make cluster installs it") from None
    if address := os.environ.get(SCHEDULER):
        try:
            client = Client(address)
        except (OSError, ValueError) as error:
            raise ParameterError(f"scheduler {address}: {error}", expected="tcp://HOST:PORT of a Dask scheduler") from None
    else:
        with warnings.catch_warnings(action="ignore"):  # another notebook's cluster has the dashboard's port: any other will do
            here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:8787", "memory_limit": 0}
            client = Client(LocalCluster(n_workers=int(os.environ[WORKERS]), threads_per_worker=1, **here))
    _, workers, here = client.get_versions(packages=PACKAGES).values()
    for worker, found in workers.items():
        for name in [name for name in PACKAGES if found["packages"].get(name) != here["packages"][name]]:
            received, hint = f"worker {worker}: {name} {found['packages'].get(name)}", "install constraints.txt there"
            raise ParameterError(received, expected=f"{here['packages'][name]}, as here", hint=hint)
    return client


def run_all(function: Callable[[str, bytes], None], units: dict[str, bytes], label: str) -> None:
    """Call a function of facekit with the name of each unit and what `pack` made of it, on the workers.

    FacekitError: names each unit that failed and its log, after all others; or the scheduler is lost.
    """
    from distributed import CancelledError, as_completed

    client, errors, place = connect(), {}, str(cache_folder())
    futures = {client.submit(_call, function, name, unit, place, pure=False): name for name, unit in units.items()}
    try:
        with track(None, label, len(units), unit="unit") as progress:
            progress.set_postfix(running=min(len(futures), threads := sum(client.nthreads().values())), failed=0)
            for future in as_completed(futures):
                if future.status in ("finished", "error"):  # not cancelled or lost
                    errors[futures[future]] = future.exception()
                progress.update()
                running, failed = min(len(futures) - len(errors), threads), sum(map(bool, errors.values()))
                progress.set_postfix(running=running, failed=failed)
        if len(errors) < len(futures):
            raise CancelledError
    except (CancelledError, OSError):
        connect.cache_clear()
        raise FacekitError(f"lost the scheduler {client.scheduler.address}", hint="finished units are kept: rerun") from None
    except BaseException:
        client.cancel(list(futures))
        raise
    if failed := [f"{name}: {error}" for name, error in errors.items() if error]:
        raise FacekitError("; ".join(failed))


def _call(function: Callable[[str, bytes], None], name: str, unit: bytes, place: str) -> None:
    """Call the function on a worker, whose cache is the client's."""
    from distributed import get_worker

    try:
        if not os.path.isdir(place):
            raise DataError(f"no folder {place}", expected="the cache of the process that sends work", hint="mount it there")
        os.environ |= {"FACEKIT_CACHE": place, CHANNEL: ""}  # the progress shown is that of all units
        function(name, unit)
    except Exception as error:
        reason = str(error) if isinstance(error, FacekitError) else f"{type(error).__name__}: {error}"
        log = write_text(cache_folder("failed") / f"{name}.log".replace("/", " "), traceback.format_exc())
        raise FacekitError(f"worker {get_worker().address}: {reason}", hint=f"log: {log}") from None


def pack(value) -> bytes:
    """Return what a worker needs to have the same value; models are told by layers and weights, large arrays by their file."""
    _Pickler(stream := io.BytesIO()).dump(value)
    return stream.getvalue()


def unpack(packed: bytes):
    """Return what `pack` packed."""
    return _Unpickler(io.BytesIO(packed)).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        from facekit.data.batches import digest

        if not isinstance(value, np.ndarray) or value.nbytes < 10_000:  # which are sent as they are
            return None
        if isinstance(value, np.memmap) and value.offset + value.nbytes == os.path.getsize(value.filename):  # no part of it
            return str(value.filename), digest(value)
        path = cache_folder("arrays") / f"{digest(value)}.npy"
        if not path.exists():
            np.save(part := path.with_suffix(f".{os.getpid()}.npy"), value)
            part.replace(path)
        return str(path), digest(value)

    def reducer_override(self, value):
        from keras import Model, config, saving

        if not isinstance(value, Model):
            return NotImplemented
        variables = [(variable.numpy(), variable.trainable) for variable in value.variables]
        objects, policy = saving.get_custom_objects(), config.dtype_policy().name
        return _build, (saving.serialize_keras_object(value), variables, objects, policy)


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, known):
        from facekit.data.batches import remember_digest

        path, content = known
        return remember_digest(np.load(path, mmap_mode="r"), content)


def _build(config: dict, variables: list, objects: dict, policy: str):
    import keras

    keras.config.set_dtype_policy(policy)  # by which `compile` decides whether losses are scaled
    model = keras.saving.deserialize_keras_object(config, objects)
    for variable, (content, trainable) in zip(model.variables, variables, strict=True):
        variable.assign(content)
        variable.trainable = trainable
    return model
