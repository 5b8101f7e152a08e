"""Hair in its forms and colours: what hangs behind the head, and what lies in front of it.

Outline and single strands both follow the form, so that straight, wavy, curly and braided differ at 64 pixels too.
"""

import numpy as np

from facekit.synthetic.canvas import Canvas, curve, ellipse, mirror, mix
from facekit.synthetic.traits import Face

# The skull from the left temple over the crown to the right one.
CROWN = np.array([(-1.02, -0.1), (-1.06, -0.7), (-0.86, -1.30), (-0.45, -1.58), (0, -1.64)])
CROWN = np.concatenate([CROWN, CROWN[3::-1] * (-1, 1)])
TONES = (0.62, 0.80, 1.22, 1.45)


def draw_back_hair(canvas: Canvas, face: Face) -> None:
    """Draw what is seen of the hair behind head and neck."""
    if face.baldness == "bald" or face.years < 1.5:
        return
    random = np.random.default_rng((face.detail, 1))
    dark = face.hair_rgb * 0.78
    if face.hair_form == "curly":
        if face.hair_length == "long":
            _draw_curls(canvas, face, random, _ring(random, -0.35, 1.32, 1.45, 1.9), 0.30, 0.8)
        else:
            _draw_curls(canvas, face, random, _ring(random, -0.62, 1.06, 1.0, 0.3), 0.24, 0.8)
        return
    if face.hair_length == "short" or face.hair_form == "braid":
        canvas.fill(curve(CROWN * 1.02), dark)
        return
    length = 1.75 + 0.35 * ((face.detail >> 3) % 3)
    side = [(1.10, -0.6), (1.20, 0.3), (1.26, 1.1), (1.20, length), (0.75, length + 0.12)]
    points = np.concatenate([CROWN[2:-2] * 1.05, side, mirror(side[::-1], -1)])
    if face.hair_form == "wavy":
        points = np.concatenate([CROWN[2:-2] * 1.07, _wave_side(1, length), _wave_side(-1, length)[::-1]])
    canvas.fill(curve(points, closed=True), dark)
    starts = random.uniform(-1.15, 1.15, 46)
    chance = random.random((46, 2 if face.hair_form == "wavy" else 1))  # of where a strand ends, and where its waves begin
    strands = _hang(starts, -0.5, length - 0.3 * chance[:, 0], 1.2 * chance[:, 1] if face.hair_form == "wavy" else None)
    _stroke_tones(canvas, strands, dark, 0.03)


def draw_front_hair(canvas: Canvas, face: Face) -> None:
    """Draw the hair over forehead and temples, with fringe and braids."""
    random = np.random.default_rng((face.detail, 2))
    colour = face.hair_rgb
    if face.years < 1.5:
        # A baby's down: thin short hairs that follow the skull, denser towards the crown.
        x = random.uniform(-0.8, 0.8, 70)
        y = -1.47 + 0.62 * x**2 + 0.42 * random.random(70) ** 2
        down = np.stack([np.stack([x, x * 1.04, x * 1.10 + 0.02], axis=1), np.stack([y, y - 0.06, y - 0.08], axis=1)], axis=2)
        canvas.stroke(curve(down), mix(colour, face.skin_colour, 0.35), 0.018)
        return
    if face.baldness == "bald":
        if face.years > 45:
            for side in (-1, 1):
                tuft = curve([(0.86, -0.62), (1.05, -0.5), (1.10, 0.0), (0.98, 0.16), (0.94, -0.2)], closed=True)
                canvas.fill(mirror(tuft, side), colour)
                t = random.uniform(0, 1, 10)[:, None]
                hairs = np.stack([np.hstack([0.9 + 0.1 * t, -0.55 + 0.5 * t]), np.hstack([0 * t + 1.03, -0.35 + 0.5 * t])], 1)
                _stroke_tones(canvas, mirror(hairs, side), colour, 0.02)
        return
    if face.hair_form == "curly":
        _draw_curly_front(canvas, face, random)
    elif face.hair_form == "braid":
        _draw_tied(canvas, face, random)
        for side in (-1, 1) if face.detail % 2 else (1,):
            _draw_braid(canvas, face, side)
    elif face.hair_length == "long":
        _draw_curtain(canvas, face, random)
    else:
        _draw_short(canvas, face, random)
    if face.bangs:
        _draw_bangs(canvas, face, random)


def _hang(x: np.ndarray, top: float, bottom: np.ndarray, waves: np.ndarray | None) -> np.ndarray:
    """Return strands that hang from x, float (n, k, 2); `waves` holds each strand's phase, None is straight."""
    y = np.linspace(top, bottom, 5 if waves is None else 12, axis=1)
    sway = 0.0 if waves is None else 0.07 * np.sin(5.2 * y + waves[:, None])
    return np.stack([x[:, None] * (1 + 0.06 * (y - top)) + sway, y], axis=2)


def _wave_side(side: int, length: float) -> np.ndarray:
    y = np.linspace(-0.7, length, 12)
    x = 1.10 + 0.08 * (y + 0.7) + 0.085 * np.sin(5.2 * y)
    return np.stack([side * x, y], axis=1)


def _stroke_tones(canvas: Canvas, strands: np.ndarray, colour: np.ndarray, width: float, on: str = "head") -> None:
    for index, tone in enumerate(TONES):
        shade = colour * tone + (8 if tone > 1 else 0)
        canvas.stroke(strands[index :: len(TONES)], shade, width, on)


def _ring(random: np.random.Generator, centre_y: float, width: float, height: float, drop: float) -> np.ndarray:
    angle = np.linspace(0.75 * np.pi, 2.25 * np.pi, 26)
    ring = np.stack([width * np.cos(angle), centre_y + height * np.sin(angle)], axis=1)
    ring = ring + random.normal(0, 0.03, ring.shape)
    falls = (
        [(side * (width - 0.14 * t), centre_y + 0.7 + drop * t) for side in (-1, 1) for t in np.linspace(0, 1, 5)]
        if drop > 1
        else []
    )
    inner = ring * (0.78, 0.84) + (0, -0.06)
    return np.concatenate([inner, ring, np.reshape(falls, (-1, 2)), np.reshape(falls, (-1, 2)) * (0.8, 0.98)])


def _draw_curls(
    canvas: Canvas, face: Face, random: np.random.Generator, centres: np.ndarray, radius: float, base: float
) -> None:
    sizes = (random.uniform(0.75, 1.15, len(centres)) * radius)[:, None, None]
    tones = base * random.uniform(0.82, 1.12, len(centres))
    dark = np.tile(face.hair_rgb * base * 0.7, (len(centres), 1))
    canvas.fill_each(ellipse(0, 0, 1.15, 1.15, 10) * sizes + (centres * (0.97, 1.0))[:, None], dark)
    canvas.fill_each(ellipse(0, 0, 1, 1, 12) * sizes + centres[:, None], face.hair_rgb * tones[:, None])
    turn = np.linspace(0, 4.6, 9) + random.uniform(0, 2 * np.pi, len(centres))[:, None]
    spiral = np.stack([np.cos(turn), np.sin(turn)], axis=2) * sizes
    for share, tone in ((0.80, 1.28), (0.45, 0.66)):
        canvas.stroke(centres[:, None] + share * spiral, face.hair_rgb * tone + (10 if tone > 1 else 0), 0.035)


def _hairline(face: Face) -> np.ndarray:
    half = [(0.88, -0.30), (0.78, -0.74), (0.42, -0.96), (0, -0.98)]
    if face.baldness == "receding":
        half = [(0.90, -0.45), (0.78, -1.08), (0.48, -1.26), (0.16, -1.10), (0, -1.07)]
    return np.concatenate([half, mirror(half[-2::-1], -1)])


def _draw_short(canvas: Canvas, face: Face, random: np.random.Generator) -> None:
    line = _hairline(face) + (0, 0.04 * random.uniform(-1, 1))
    low = (1.0, 0.02)
    outer = CROWN.copy()
    outer[1:-1] += random.normal(0, 0.018, (7, 2)) + (0, -0.03)
    shape = np.concatenate([[(-low[0], low[1])], curve(outer), [low], [(0.90, low[1])], curve(line), [(-0.90, low[1])]])
    canvas.fill(shape, face.hair_rgb)
    lean = random.choice((-1.0, 1.0)) * 0.22
    t = random.uniform(0, 1, 52)
    root = np.stack([np.interp(t, np.linspace(0, 1, len(line)), line[:, k]) for k in (0, 1)], axis=1)
    rim = np.abs(root[:, 0])
    tip = root * (1.12, 1.0) + np.stack([lean * (1 - rim), -0.50 * (1 - 0.55 * rim)], axis=1)
    wavy = face.hair_form == "wavy"
    strands = np.stack([root + (0, 0 if wavy else 0.02), (root + tip) / 2 + (0.10 if wavy else 0.03, 0), tip], axis=1)
    _stroke_tones(canvas, curve(strands), face.hair_rgb, 0.026)


def _draw_curtain(canvas: Canvas, face: Face, random: np.random.Generator) -> None:
    part = 0.3 * random.uniform(-1, 1)
    length = 1.5 + 0.35 * ((face.detail >> 3) % 3)
    wavy = face.hair_form == "wavy"
    hairline = -1.14 if face.baldness == "receding" else -1.02
    for side in (-1, 1):
        start = part * side
        mid = (start + 0.95) / 2
        outer = curve([(start, -1.62), (mid, -1.57), (0.94, -1.30), (1.13, -0.7), (1.16, 0.1)])
        outer_fall = _wave_side(1, length)[3:] + (0.02, 0) if wavy else np.array([(1.18, 0.6), (1.20, length)])
        inner_fall = outer_fall[::-1] * (0.70, 1) + (0.046, 0) if wavy else np.array([(0.80, length + 0.1), (0.86, 0.7)])
        inner = curve([(0.91, 0.2), (0.90, -0.3), (0.74, -0.74), (0.40, -0.95), (start, hairline)])
        canvas.fill(mirror(np.concatenate([outer, outer_fall, inner_fall, inner]), side), face.hair_rgb)
        t = random.uniform(0, 1, 26)
        x = np.stack([0 * t + start, mid - 0.04 * t, 0.95 - 0.18 * t, 1.10 - 0.2 * t], axis=1)
        y = np.stack([-1.58 + 0.52 * t, -1.49 + 0.5 * t, -1.14 + 0.4 * t, 0 * t - 0.4], axis=1)
        bow = curve(np.stack([x, y], axis=2), pieces=4)
        fall = _hang(1.10 - 0.2 * t, -0.38, length - 0.1 * t, random.uniform(0, 1.2, 26) if wavy else None)
        fall[..., 0] += (bow[:, -1, 0] - fall[:, 0, 0])[:, None]
        _stroke_tones(canvas, mirror(np.concatenate([bow, fall], axis=1), side), face.hair_rgb, 0.028)
    if not face.bangs:
        canvas.stroke([np.array([(part, -1.60), (part, hairline)])], mix(face.hair_rgb * 0.6, face.skin_colour, 0.35), 0.022)


def _draw_bangs(canvas: Canvas, face: Face, random: np.random.Generator) -> None:
    x = np.linspace(-0.86, 0.86, 19)
    ends = -0.34 + 0.10 * np.abs(x) + 0.035 * np.where(np.arange(19) % 2, 1, -1)
    top = curve([(-0.92, -0.42), (-0.80, -1.10), (0, -1.40), (0.80, -1.10), (0.92, -0.42)])
    canvas.fill(np.concatenate([top, np.stack([x, ends], axis=1)[::-1]]), face.hair_rgb)
    end = random.uniform(-0.84, 0.84, 44)
    x = np.stack([0.75 * end, end * 0.98, end + random.normal(0, 0.02, 44)], axis=1)
    y = np.stack([-1.36 + 0.3 * end**2, 0 * end - 0.9, -0.36 + 0.1 * np.abs(end)], axis=1)
    strands = curve(np.stack([x, y], axis=2))
    _stroke_tones(canvas, strands, face.hair_rgb, 0.028)


def _draw_curly_front(canvas: Canvas, face: Face, random: np.random.Generator) -> None:
    top = curve(_hairline(face), pieces=3)
    rows = [top * (1.03, 1.0) + (0, -0.10), top * (0.99, 1.0) + (0, -0.30), top[4:-4] * (0.9, 1.0) + (0, -0.48)]
    centres = np.concatenate(rows)
    if face.hair_length == "long":
        falls = [(side * (1.08 + 0.08 * (k % 2)), y) for k, y in enumerate(np.linspace(-0.2, 1.7, 9)) for side in (-1, 1)]
        centres = np.concatenate([centres, falls])
    centres = centres + random.normal(0, 0.025, centres.shape)
    _draw_curls(canvas, face, random, centres, 0.165, 1.0)


def _draw_tied(canvas: Canvas, face: Face, random: np.random.Generator) -> None:
    line = _hairline(face) * (1.0, 1.02)
    shape = np.concatenate([curve(CROWN * 0.99), [(0.92, -0.1)], curve(line), [(-0.92, -0.1)]])
    canvas.fill(shape, face.hair_rgb)
    x = random.uniform(-0.95, 0.95, 44)[:, None]
    strands = np.stack([np.hstack([x * 0.9, -1.0 + 0.22 * x**2]), x * (0.72, 0) - (0, 1.32), x * (0.3, 0) - (0, 1.58)], axis=1)
    _stroke_tones(canvas, strands, face.hair_rgb, 0.026)
    canvas.stroke([np.array([(0, -1.62), (0, -1.0)])], mix(face.hair_rgb, face.skin_colour, 0.5), 0.03)


def _draw_braid(canvas: Canvas, face: Face, side: int) -> None:
    knots = np.linspace(0.25, 2.3, 9)
    canvas.stroke([mirror(curve([(0.98, -0.3), (1.06, 0.1), (1.02, 0.5)]), side)], face.hair_rgb * 0.8, 0.24)
    for index, y in enumerate(knots):
        x = side * (1.03 - 0.09 * y)
        for turn in (-1, 1):
            knot = ellipse(0, 0, 0.135, 0.205, 14)
            tilt = 0.55 * turn
            knot = knot @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
            knot = knot + (x + 0.085 * turn, y + 0.11 * (turn > 0))
            canvas.fill(knot, face.hair_rgb * (1.12 if (index % 2) ^ (turn > 0) else 0.88))
            canvas.stroke([knot], face.hair_rgb * 0.5, 0.022, closed=True)
    canvas.fill(ellipse(side * 0.82, 2.36, 0.10, 0.07, 12), (208, 60, 90))


def draw_hat(canvas: Canvas, face: Face) -> None:
    """Draw a knitted or a peaked hat, which hides the crown of the hair."""
    random = np.random.default_rng((face.backdrop, 5))
    colour = random.uniform(30, 215, 3)
    dome = [(-1.10, -0.66), (-1.10, -1.12), (-0.82, -1.62), (0, -1.88), (0.82, -1.62), (1.10, -1.12), (1.10, -0.66)]
    canvas.fill(np.concatenate([curve(dome), curve([(1.1, -0.66), (0, -0.86), (-1.1, -0.66)])]), colour)
    if face.backdrop % 2:
        ribs = [curve([(x, -0.75), (x * 0.96, -1.2), (x * 0.62, -1.68)]) for x in np.linspace(-0.95, 0.95, 12)]
        canvas.stroke(ribs, colour * 0.78, 0.03)
        band = np.concatenate(
            [curve([(-1.15, -0.56), (0, -0.72), (1.15, -0.56)]), curve([(1.15, -0.92), (0, -1.08), (-1.15, -0.92)])]
        )
        canvas.fill(band, colour * 0.72 + 20)
        canvas.fill(ellipse(0, -1.94, 0.2, 0.17), mix(colour, (255, 255, 255), 0.35))
    else:
        seams = [curve([(x, -0.8), (x * 0.9, -1.3), (0, -1.86)]) for x in (-0.55, 0.0, 0.55)]
        canvas.stroke(seams, colour * 0.7, 0.025)
        peak = curve([(-0.98, -0.72), (-0.86, -0.54), (0, -0.42), (0.86, -0.54), (0.98, -0.72), (0, -0.92)], closed=True)
        canvas.fill(peak, colour * 0.58)
        canvas.fill(ellipse(0, -1.88, 0.07, 0.05), colour * 0.58)
