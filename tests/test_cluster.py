"""Fits on a Dask cluster: the same results as here, whatever dies; and one training on several devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

from facekit import cli, cluster
from facekit.data.augment import ImageDataGenerator
from facekit.data.batches import Batches
from facekit.errors import FacekitError, ParameterError
from facekit.models import features, losses, training

dask = pytest.importorskip("dask", reason="Dask is not installed: make cluster")
IMAGES = np.random.default_rng(0).integers(0, 256, (1024, 8, 8, 3), dtype=np.uint8)
TARGETS = np.eye(2, dtype=np.float32)[(IMAGES.mean(axis=(1, 2, 3)) > 127).astype(int)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    return tmp_path


def start(*words, log=subprocess.PIPE, **variables):
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    return subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def scheduler(cache, monkeypatch):
    """A cluster of two workers that somebody else has started; yields scheduler and workers."""
    address = f"tcp://127.0.0.1:{find_port()}"
    log = (cache / "cluster.log").open("w")
    processes = [start("-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard", log=log)]
    worker = f"-m distributed.cli.dask_worker {address} --nthreads 1 --no-dashboard --local-directory {cache}".split()
    processes += [start(*worker, log=log, FACEKIT_CACHE=str(cache / "elsewhere")) for _ in range(2)]
    monkeypatch.setenv(cluster.SCHEDULER, address)
    cluster.connect.cache_clear()
    yield processes
    if cluster.connect.cache_info().currsize:
        cluster.connect().close()
        cluster.connect.cache_clear()
    for process in processes:
        for child in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else ():
            child.kill()
        process.wait()
    log.close()


def make_jobs(rates=(0.01, 0.003, 0.001), epochs=3, images=IMAGES):
    for rate in rates:
        training.set_up(seed=0)
        inputs = keras.Input(images.shape[1:])
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        x = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(keras.layers.Dense(16, "relu")(x)))
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
        train = Batches(images, TARGETS, np.arange(768), augment=ImageDataGenerator(horizontal_flip=True), seed=0)
        model.compile(training.adamw(rate, epochs, train), losses.LabelCrossentropy(), metrics=[losses.LabelAccuracy()])
        validation = Batches(images, TARGETS, np.arange(768, 1024))
        yield {"model": model, "train": train, "validation": validation, "name": f"rate {rate}", "epochs": epochs}


def collect(jobs):
    """Return what must not depend on where a fit ran."""
    return [(fit.folder.name, fit.history.drop(columns="seconds").to_dict(), fit.model.get_weights()) for fit in jobs]


# Waits for the first file of this name that a fit leaves, and ends processes as no process can prevent.
KILLER = """
import os, pathlib, signal, sys, time
until = time.monotonic() + 300
while not list(pathlib.Path(sys.argv[1]).glob(f"fits/*/{sys.argv[2]}")):
    if time.monotonic() > until:
        sys.exit("no such file")
    time.sleep(0.05)
for number in sys.argv[3:]:
    os.kill(int(number), signal.SIGKILL)
"""


def test_a_packed_job_is_small_and_has_the_same_key(cache):
    (job,) = make_jobs([0.01])
    folder, packed = training._name_folder(**job), cluster.pack(job)
    assert len(packed) < 40_000 < IMAGES.nbytes
    again = cluster.unpack(packed)
    assert training._name_folder(**again) == folder
    assert again["train"].inputs.filename == str(next((cache / "arrays").iterdir()))
    images = np.load(again["train"].inputs.filename, mmap_mode="r").reshape(IMAGES.shape)
    assert cluster.unpack(cluster.pack(images)).filename == images.filename  # a file's own array is not written again
    np.testing.assert_array_equal(cluster.unpack(cluster.pack(images[5:1000])), images[5:1000])


def test_fits_on_a_cluster_are_those_of_one_process_also_where_a_worker_dies(scheduler, cache, monkeypatch, tmp_path):
    found = training.fit_all(make_jobs([0.01, float("nan"), 0.003], epochs=12))
    cluster.connect().wait_for_workers(2)
    victims = [str(child.pid) for process in scheduler[1:] for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(victims) >= 2
    killer = subprocess.Popen([sys.executable, "-c", KILLER, str(cache), "state.npz", *victims])
    with monkeypatch.context() as patch:
        patch.setattr(training, "_run", lambda *_: pytest.fail("trained here"))
        with pytest.raises(FacekitError, match=r"rate-nan-.*worker tcp://\S+: epoch 1.*lower learning_rate; log: ") as told:
            list(found)
    assert killer.wait(10) == 0
    log = Path(str(told.value).rpartition("log: ")[2])
    assert "Traceback" in log.read_text()
    on_cluster = collect(training.fit_all(make_jobs([0.01, 0.003], epochs=12)))
    assert not (cache / "elsewhere" / "fits").exists()
    monkeypatch.delenv(cluster.SCHEDULER)
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "here"))
    here = collect(training.fit_all(make_jobs([0.01, 0.003], epochs=12)))
    assert [each[:2] for each in on_cluster] == [each[:2] for each in here]
    for ours, theirs in zip(on_cluster, here, strict=True):
        for weight, other in zip(ours[2], theirs[2], strict=True):
            np.testing.assert_array_equal(weight, other)


def test_a_lost_scheduler_is_one_line_and_what_is_finished_is_kept(scheduler, cache):
    jobs = [*make_jobs([0.01], epochs=1), *make_jobs([0.003, 0.001], epochs=400)]
    killer = subprocess.Popen([sys.executable, "-c", KILLER, str(cache), "history.json", str(scheduler[0].pid)])
    with pytest.raises(FacekitError, match=r"^lost the scheduler tcp://\S+; finished units are kept: rerun$") as told:
        list(training.fit_all(jobs))
    assert killer.wait(10) == 0
    assert "\n" not in str(told.value)
    assert list(cache.glob("fits/*/history.json"))


def test_features_in_parts_are_those_of_one(cache, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    base = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    whole = np.array(features.extract(base, IMAGES))
    monkeypatch.setattr(features, "PART", 320)
    (cache / "features").rename(cache / "before")
    first = next(iter((cache / "before").iterdir()))
    part = cache / "features" / f"{first.stem}-320.npy"
    part.parent.mkdir()
    np.save(part, np.zeros((320, 4), np.float32))  # what an interrupted run left is not computed again
    found = features.extract(base, IMAGES)
    np.testing.assert_array_equal(found[:320], whole[:320])
    assert not found[320:640].any()
    np.testing.assert_array_equal(found[640:], whole[640:])
    assert [path.name for path in part.parent.iterdir()] == [first.name]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "0"], "--workers 0; expected at least 1"),
        (["--workers", "two"], "--workers two; expected"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "no --scheduler"),
        (["--scheduler", "nowhere"], "scheduler nowhere: missing port"),
        (["--scheduler", "tcp://127.0.0.1:1"], "scheduler tcp://127.0.0.1:1: Timed out"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line_before_anything_starts(options, told, capsys, monkeypatch):
    monkeypatch.setattr("facekit.reporting.runner.run", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setenv(cluster.WORKERS, "")  # both are as before when the test ends
    monkeypatch.setenv(cluster.SCHEDULER, "")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert cli.main(["run", "selfie-ranking", *options]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_as_many_workers_start_as_are_asked_for(cache, monkeypatch):
    monkeypatch.setenv(cluster.WORKERS, "3")
    client = cluster.connect.__wrapped__()
    try:
        assert sorted(client.nthreads().values()) == [1, 1, 1]
    finally:
        client.shutdown()


def test_without_dask_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv(cluster.WORKERS, "")
    with pytest.raises(ParameterError, match="Dask is not installed .*make cluster"):
        cluster.choose("2", None)


def test_a_worker_without_the_cache_or_with_other_settings_is_named(scheduler, cache, monkeypatch):
    cluster.connect().wait_for_workers(2)
    with pytest.raises(FacekitError, match=r"rate 0.01: worker tcp://\S+: no folder /nowhere; expected the cache"):
        monkeypatch.setattr(cluster, "cache_folder", lambda *_: Path("/nowhere"))
        cluster.run_all(training._fit_packed, {"rate 0.01": b""}, "fits")
    versions = cluster.connect().get_versions(packages=cluster.PACKAGES)
    next(iter(versions["workers"].values()))["packages"]["keras"] = "3.0.0"
    monkeypatch.setattr("distributed.Client.get_versions", lambda *_, **__: versions)
    with pytest.raises(ParameterError, match=rf"worker tcp://\S+: keras 3.0.0; expected {keras.__version__}, as here"):
        cluster.connect.__wrapped__()


DEVICES = """
import sys
import facekit, keras, numpy as np, tensorflow as tf
from facekit.data.batches import Batches
from facekit.models import training
from facekit.reporting.record import describe_machine
if sys.argv[1] == "two":
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
training.set_up(seed=0, devices="one" if sys.argv[1] == "one" else "all")
images = np.random.default_rng(0).integers(0, 256, (164, 16, 16, 3), dtype=np.uint8)
targets = np.eye(2, dtype=np.float32)[(images.mean(axis=(1, 2, 3)) > 127).astype(int)]
inputs = keras.Input((16, 16, 3))
x = keras.layers.Conv2D(8, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
frozen = keras.layers.BatchNormalization(trainable=False)
x = keras.layers.GlobalAveragePooling2D()(frozen(x))
model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(x))
train, validation = Batches(images, targets, np.arange(160), batch_size=16, seed=0), Batches(images, targets, batch_size=16)
model.compile(training.adamw(0.01, 2, train), "categorical_crossentropy", metrics=["accuracy"])
training.set_up(seed=0)
fit = training.fit(model, train, validation, name="devices", epochs=2)
print(describe_machine()["device"])
print(*fit.history["loss"], *fit.history["val_loss"], *fit.history["val_accuracy"], *fit.predict(validation)[-1])
"""


def test_two_devices_and_two_processes_train_as_one(tmp_path):
    ports = [find_port(), find_port()]
    cluster_of_two = {"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]}}
    runs = {"one": {}, "two": {}}
    for index in range(2):
        task = {"task": {"type": "worker", "index": index}}
        runs[f"worker {index}"] = {"TF_CONFIG": json.dumps(cluster_of_two | task)}
    processes = {name: start("-c", DEVICES, name, FACEKIT_CACHE=str(tmp_path / name), **each) for name, each in runs.items()}
    outputs = {name: process.communicate(timeout=300)[0].splitlines()[-2:] for name, process in processes.items()}
    assert not any(process.returncode for process in processes.values()), outputs
    devices = {name: lines[0] for name, lines in outputs.items()}
    values = {name: np.array(lines[1].split(), float) for name, lines in outputs.items()}
    assert devices == {
        "one": "cpu",
        "two": "2 x cpu (MirroredStrategy)",
        "worker 0": "2 x cpu (MultiWorkerMirroredStrategy)",
        "worker 1": "2 x cpu (MultiWorkerMirroredStrategy)",
    }
    for name in ("two", "worker 0", "worker 1"):  # 20 steps of the same batches of 16
        np.testing.assert_allclose(values[name], values["one"], atol=1e-4)


@pytest.mark.parametrize("devices", ["0", "two", "1000", "-1"])
def test_devices_that_are_not_there_are_refused(devices):
    with pytest.raises(ParameterError, match=f"devices = '{devices}'; expected one, all or a number up to"):
        training.set_up(seed=0, devices=devices)


def test_a_damaged_tf_config_is_named(monkeypatch):
    for text in ("{", '{"cluster": 1, "task": 2}'):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ParameterError, match="TF_CONFIG: "):
            training.set_up(seed=0, devices="all")
