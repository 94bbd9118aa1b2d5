// Where a photo lies on its stage: how large, and what of it is in the middle. Figures alone, no elements.

const LADDER = [0.05, 0.1, 0.25, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 4, 6, 8];
const MOST = 8; // device pixels for a pixel of the photo
const CRISP = 2; // above this, pixels are shown as squares

/** A number held between two others. */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const snapped = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio;

/** A place on the stage: `box` is the stage in CSS pixels, `frame` the photo in its own; both are written from outside. */
export function placed() {
  const box = { width: 0, height: 0 };
  const frame = { width: 0, height: 0 };
  let whole = true; // as large as fits
  let zoomed = 1; // else: device pixels for one of the photo
  let x = 0.5, y = 0.5; // what is in the middle, 0 to 1

  const scaleToFit = () => Math.min(box.width / frame.width, box.height / frame.height, CRISP / devicePixelRatio);

  /** CSS pixels for a pixel of the photo. */
  const scale = () => (whole ? scaleToFit() : zoomed / devicePixelRatio);

  /** Device pixels for a pixel of the photo. */
  const level = () => scale() * devicePixelRatio;

  /** So many device pixels for a pixel of the photo, what is at (left, top) of the stage staying there. */
  function zoom(to, [left, top] = [box.width / 2, box.height / 2]) {
    if (!frame.width) return;
    const [old, least] = [scale(), scaleToFit()];
    const next = clamp(to / devicePixelRatio, Math.min(least, 1 / devicePixelRatio), MOST / devicePixelRatio);
    x += ((left - box.width / 2) / frame.width) * (1 / old - 1 / next);
    y += ((top - box.height / 2) / frame.height) * (1 / old - 1 / next);
    zoomed = next * devicePixelRatio;
    whole = Math.abs(next / least - 1) < 0.005;
  }

  function fit() {
    whole = true;
    x = y = 0.5;
  }

  function pan(dx, dy) {
    x -= dx / (frame.width * scale());
    y -= dy / (frame.height * scale());
  }

  // No more than the photo is panned to: where it is smaller than the stage it stays in the middle.
  const kept = (value, size, room) => (size <= room ? 0.5 : clamp(value, room / 2 / size, 1 - room / 2 / size));

  /** {left, top, width, height} of the photo on the stage. */
  function rect() {
    const [width, height] = [frame.width * scale(), frame.height * scale()];
    x = kept(x, width, box.width);
    y = kept(y, height, box.height);
    return { left: snapped(box.width / 2 - x * width), top: snapped(box.height / 2 - y * height), width, height };
  }

  return {
    box, frame, scale, level, zoom, fit, pan, rect,
    fits: () => whole,
    crisp: () => level() > CRISP,
    /** One step of the ladder in (1) or out (-1). */
    step: (way) => zoom(way > 0 ? LADDER.find((each) => each > level() * 1.01) ?? MOST : LADDER.findLast((each) => each < level() * 0.99) ?? 0),
    /** From the whole to 100 %, and back. */
    toggle: (at) => (whole ? zoom(1, at) : fit()),
  };
}
