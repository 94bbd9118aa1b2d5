// Pictures before they are shown.

import { make } from "./make.js";

/** A picture that is decoded, off the main thread; null where there is none or it cannot be shown. `loading`: where it stands meanwhile. */
export async function decoded(source, loading) {
  if (!source) return null;
  const image = new Image();
  const own = source instanceof Blob;
  Object.assign(image, { source, own });
  image.draggable = false;
  image.decoding = "async";
  image.src = own ? URL.createObjectURL(source) : source;
  loading.add(image);
  try {
    await image.decode();
    return image;
  } catch {
    release(image);
    return null;
  } finally {
    loading.delete(image);
  }
}

/** The end of a picture; null is none. */
export function release(image) {
  if (!image) return;
  image.remove();
  if (image.own) URL.revokeObjectURL(image.src);
}

/** Whether something lies behind this picture: read at 32 x 32 points. */
export function seeThrough(image) {
  const canvas = make("canvas", { width: 32, height: 32 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, 32, 32);
  return context.getImageData(0, 0, 32, 32).data.some((value, at) => at % 4 === 3 && value < 250);
}
