// What wheel, mouse and fingers do on the stage.

import { clamp } from "./place.js";

const STILL = 4; // px that a finger may move without dragging

/** Moves `place` (place.js) and, by `divide(x)`, the divider, where `divides()`; `changed()` after each move. */
export function gestures(stage, handle, place, { divide, divides, changed }) {
  const pointers = new Map();
  let drag = null; // "split", "pan", "pinch" or "maybe"

  const local = ({ clientX, clientY }) => {
    const { left, top } = stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };

  stage.addEventListener("wheel", (event) => {
    if (!place.frame.width) return;
    event.preventDefault();
    const lines = event.deltaY * [1, 16, 240][event.deltaMode];
    place.zoom(place.level() * Math.exp(-clamp(lines, -240, 240) * (event.ctrlKey ? 0.01 : 0.002)), local(event));
    changed();
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 1 || !place.frame.width) return;
    if (event.button === 1) event.preventDefault(); // no autoscroll
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, local(event));
    const onHandle = handle.contains(event.target);
    drag = pointers.size > 1 ? "pinch" : onHandle ? "split" : "maybe";
    (onHandle ? handle : stage).focus({ preventScroll: true });
  });

  stage.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    const now = local(event);
    const [dx, dy] = [now[0] - old[0], now[1] - old[1]];
    if (drag === "maybe") {
      if (Math.hypot(dx, dy) < STILL) return;
      drag = divides() && place.fits() && event.buttons !== 4 ? "split" : "pan";
    }
    if (drag === "pinch") {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      place.zoom((place.level() * far(now)) / far(old), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      place.pan(dx / 2, dy / 2);
    }
    if (drag === "split") divide(now[0]);
    if (drag === "pan") place.pan(dx, dy);
    stage.classList.toggle("dragging", drag === "pan");
    pointers.set(event.pointerId, now);
    changed();
  });

  const lifted = (event) => {
    pointers.delete(event.pointerId);
    drag = pointers.size ? "pan" : null;
    stage.classList.remove("dragging");
  };
  stage.addEventListener("pointerup", lifted);
  stage.addEventListener("pointercancel", lifted);
  stage.addEventListener("dblclick", (event) => {
    place.toggle(local(event));
    changed();
  });
}
