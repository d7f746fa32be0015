// Draw single tiles of contact sheets, as large as their canvas allows.

/** Return a canvas's context with its pixels matched to the screen's, cleared. */
export function fitted(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, w, h);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/** Draw tile `number` of a sheet of the given shape, whole and centred. */
export function drawTile(canvas, sheet, shape, number) {
  const { context, width, height } = fitted(canvas);
  if (!sheet) return;
  const scale = Math.min(width / shape.width, height / shape.height);
  const [w, h] = [shape.width * scale, shape.height * scale];
  const [column, row] = [number % shape.columns, Math.floor(number / shape.columns)];
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(sheet, column * shape.width, row * shape.height, shape.width, shape.height,
    (width - w) / 2, (height - h) / 2, w, h);
}
