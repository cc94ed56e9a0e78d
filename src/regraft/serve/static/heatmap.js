// Draws how much the answer's probability falls where a part of the photo is covered.

const MOST = 0.62; // opacity of the strongest part

/** Draw rows of values over a photo; return in words where the strongest part is. */
export function heatmap(canvas, photo, values) {
  const rows = values.length;
  const columns = values[0].length;
  const scale = Math.max(...values.flat().map(Math.abs), 1e-9);
  const small = new OffscreenCanvas(columns, rows);
  const pixels = new ImageData(columns, rows);
  values.flat().forEach((value, place) => {
    const [red, green, blue] = value > 0 ? [214, 40, 30] : [30, 90, 200];
    pixels.data.set([red, green, blue, Math.round(255 * MOST * (Math.abs(value) / scale))], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  canvas.width = photo.naturalWidth > 800 ? 800 : photo.naturalWidth;
  canvas.height = Math.round((canvas.width * photo.naturalHeight) / photo.naturalWidth);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  place(canvas, photo);
  return where(values);
}

function place(canvas, photo) {
  const frame = photo.parentElement.getBoundingClientRect();
  const box = photo.getBoundingClientRect();
  canvas.style.left = `${box.left - frame.left}px`;
  canvas.style.top = `${box.top - frame.top}px`;
  canvas.style.width = `${box.width}px`;
  canvas.style.height = `${box.height}px`;
}

function where(values) {
  const flat = values.flat();
  const strongest = flat.indexOf(Math.max(...flat));
  const columns = values[0].length;
  const third = (at, count, names) => names[Math.min(Math.floor((3 * (at + 0.5)) / count), 2)];
  const high = third(Math.floor(strongest / columns), values.length, ["top", "middle", "bottom"]);
  const wide = third(strongest % columns, columns, ["left", "middle", "right"]);
  return `the part that speaks for it most lies at the ${high === wide ? "middle" : `${high} ${wide}`} of the photo`;
}
