"""Hours of profile `full` on other machines, computed from what an image costs here, which benchmarks/scale.py measures."""

from collections import Counter, namedtuple

Unit = namedtuple("Unit", "network pixels trained predicted batch")  # images: rows times epochs
Cost = namedtuple("Cost", "step predict weights")  # processor seconds an image at --size


def list_units(task: str, p: dict) -> tuple[list[Unit], float]:
    """Return what a notebook trains and extracts, as its cells do, from a profile's values and the manifest; images decoded."""
    from facekit.data.manifests import read_manifest
    from facekit.models.features import PART

    datasets = {"celeba": "celeba", "gender": "celeba", "smile": "facehack", "age": "indian_actors"}
    manifest = read_manifest(name := datasets.get(task.split("-")[0], "selfie"))
    first, count = next(iter(manifest.tables.values())), manifest.images.count
    test, validation = first.rows * p.get("test_fraction", 0), p.get("validation_fraction", 1 / 9)
    train, validation = (first.rows - test) * (1 - validation), (first.rows - test) * validation
    if name == "celeba":
        train, validation, test = manifest.tables["partition"].columns["partition"].counts.values()
    elif name == "facehack":
        train, validation, test = first.rows * 0.85, first.rows * 0.15, count - first.rows
    side = p.get("input_size") or [p["input_height"], p["input_width"]]
    pixels = side[0] * side[1] if isinstance(side, list) else side**2
    network, epochs, batch = p.get("backbone"), p.get("epochs"), p.get("batch_size", 32)

    def fit(network=network, rows=train, epochs=epochs, pixels=pixels):
        return Unit(network, pixels, rows * epochs, validation * epochs + test, batch)

    if task == "celeba-networks":
        rows = p["train_images"] or train
        grid = (p["grid_networks"] * len(p["grid_rates"]) * len(p["grid_dropouts"]))[: p["tuned_cells"]]
        extracted = [Unit(network, pixels, 0, count - train + rows, 64) for network in p["grid_networks"]]
        whole = [fit(network, rows) for network in p["compared_networks"]]
        return [*extracted, *whole, *(fit(network, rows, -(-epochs // 4)) for network in grid)], count - train + rows
    units = [Unit(p["backbone"], pixels, 0, min(PART, count - start), 64) for start in range(0, count, PART)]
    if task == "gender-size":
        return [*units, *[fit(rows=p["short_images"])] * 3, fit(p["other_backbone"], p["short_images"])], count
    units += [fit()] * {"selfie-task1": 2, "selfie-auxiliary": 0}.get(task, p.get("networks", 1))
    if task == "smile":  # two stages more, the second on smiles alone, and short runs
        smiles = 1 - first.columns["label"].counts["NOT smile"] / first.rows
        units += [fit()] * (1 + bool(p["compare_weights"])) + [fit(rows=train * smiles, epochs=p["epochs_stage2"])]
        units += [fit(epochs=p["claim_epochs"], pixels=p["claim_size"] ** 2)] * 3
    elif task == "selfie-task2":
        units.append(fit(p["other_backbone"], pixels=p["other_size"] ** 2))
    elif task == "gender":
        units += [fit()] * bool(p["compare_weights"]) + [fit(rows=p["short_images"])] * 2
    elif task == "age":
        units += [fit(epochs=p["short_epochs"])] * 2
    return units, count


def compute_columns(units, decode: float, augment: float, costs, options, spread: bool) -> list[Counter]:
    """Return for two cores, a small GPU, 8 GPUs and 64 workers what their seconds go to."""
    cores, gpu, gpus, alone = (Counter(decode=decode / 2) for _ in range(4))
    on_gpu, on_core = [], []
    for unit in units:
        scale = unit.pixels / options.size**2
        step = scale * (unit.trained * costs[unit.network].step + unit.predicted * costs[unit.network].predict)
        feed = scale * unit.trained * augment
        cores += Counter(step=step / 2, augment=feed / 2)
        on_gpu.append(max((step / options.gpu, "step"), (feed / options.loaders, "augment")))
        on_core.append((step + feed, "in turn" if unit.trained and not spread else "step"))
        shared = max((step / options.gpu / 8, "step"), (feed / options.loaders, "augment"))
        exchanged = unit.trained / unit.batch * costs[unit.network].weights * 4 * 2 * 7 / 8
        gpus += Counter({shared[1]: shared[0], "exchange": exchanged / options.bandwidth / 1e9})
    for seconds, what in on_gpu:
        gpu[what] += seconds
    each = max((sum(s for s, _ in on_gpu) / 8, max(on_gpu)[1]), (max(on_gpu)[0], "slowest unit"))
    each = Counter({"decode": decode / 2, each[1]: each[0]})
    spreadable, rest = [s for s, what in on_core if what == "step"], sum(s for s, what in on_core if what == "in turn")
    slowest, even = max(spreadable, default=0), sum(spreadable) / 64
    alone += Counter({"in turn": rest, "slowest unit" if slowest > even else "step": max(slowest, even)})
    return [cores, gpu, min(gpus, each, key=Counter.total) if spread else gpus, alone]


def print_hours(options, decode: float, augment: float, costs: dict[str, Cost]) -> None:
    """Print the table for profile `full`."""
    from facekit.reporting import parameters

    print(f"""
Computed, not measured: hours of profile full, and what most of them go to. Assumed: cost grows with pixels, as in 32 bits; a
small GPU is {options.gpu:g} of these cores (--gpu), {options.loaders} threads augment for it while it computes (--loaders);
8 GPUs exchange gradients at {options.bandwidth:g} GB/s (--bandwidth), not while they compute; a worker is one core; two threads
decode. Where a notebook calls fit_all (--all: as if each did), 8 GPUs take a training each or share each, whichever is sooner,
and 64 workers take one each; elsewhere trainings go `in turn`, and only features are spread. Left out: heads on features,
small CNNs, regressions, intervals, figures, oversampled copies.""")
    machines = "".join(f"{name:>22}" for name in ("two cores", "one small GPU", "8 GPUs", "64 workers"))
    print(f"{'task':<18}{'trained':>8}{machines}")
    totals = Counter()
    for task in parameters.list_tasks():
        known, full = parameters.read_parameters(task), parameters.read_profile(task, "full").parameters
        p = {name: each.default for name, each in known.items()}
        p |= {name: known[name].check(value, task) for name, value in full.items()}
        if "backbone" in p or "compared_networks" in p:
            units, decoded = list_units(task, p)
            spread = options.all or "fit_all" in (parameters.NOTEBOOKS / f"{task}.ipynb").read_text(encoding="utf-8")
            columns = compute_columns(units, decoded * decode, augment, costs, options, spread)
            totals += Counter({number: parts.total() for number, parts in enumerate(columns)})
            shown = "".join(f"{parts.total() / 3600:>9.2f} {max(parts, key=parts.get):<12}" for parts in columns)
            print(f"{task:<18}{sum(unit.trained > 0 for unit in units):>8}{shown}")
    print(f"{'one after another':<26}" + "".join(f"{totals[number] / 3600:>9.2f}{'':13}" for number in range(4)))
