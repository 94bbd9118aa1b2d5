// A ZIP of Blobs, stored and not deflated: pictures are small already.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return ~sum >>> 0;
}

// Numbers of so many bytes each, little-endian: [[2, n], [4, n]].
function packed(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

const fold = (name) => name.normalize("NFC").toLowerCase();

/** A name for each, no two alike: as the server numbers them, "a.png" and then "a-2.png"; the first of its kind keeps its own. */
function different(names) {
  const wanted = new Set(names.map(fold));
  const seen = new Set();
  return names.map((name) => {
    let now = name;
    for (let n = 2; seen.has(fold(now)) || (now !== name && wanted.has(fold(now))); n++) {
      now = name.replace(/((\.matte)?\.[^.]*)?$/, `-${n}$1`);
    }
    seen.add(fold(now));
    return now;
  });
}

/** One ZIP of Files, names made different; under 4 GiB. */
export async function zip(files) {
  const parts = [], index = [];
  const names = different(files.map(({ name }) => name));
  let at = 0;
  for (const [i, blob] of files.entries()) {
    const label = new TextEncoder().encode(names[i]);
    const sum = crc(new Uint8Array(await blob.arrayBuffer()));
    // version, UTF-8 names, stored, midnight of 1980-01-01
    const same = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, sum], [4, blob.size], [4, blob.size], [2, label.length], [2, 0]];
    const head = packed([[4, 0x04034b50], ...same]);
    parts.push(head, label, blob);
    index.push(packed([[4, 0x02014b50], [2, 20], ...same, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]), label);
    at += head.byteLength + label.length + blob.size;
  }
  const size = index.reduce((sum, part) => sum + part.byteLength, 0);
  const end = packed([[4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, at], [2, 0]]);
  return new Blob([...parts, ...index, end], { type: "application/zip" });
}
