// Lines every 10, 20, 50 … metres on a map without tiles, so that distances can be seen.

import L from 'leaflet';
import { gridStep, metres } from './camera';

export function drawGrid(on: L.Map, grid: L.LayerGroup): void {
  const bounds = on.getBounds();
  const centre = bounds.getCenter();
  const perPixel = metres([centre.lat, centre.lng], [centre.lat, centre.lng + 0.001]) / (on.project([centre.lat, centre.lng + 0.001]).x - on.project(centre).x);
  const step = gridStep(perPixel * 90);
  const lat = step / 111_320;
  const lng = step / (111_320 * Math.cos((centre.lat * Math.PI) / 180));
  grid.clearLayers();
  const style = { className: 'gridline', weight: 1, interactive: false };
  for (let y = Math.floor(bounds.getSouth() / lat) * lat; y < bounds.getNorth(); y += lat) {
    grid.addLayer(L.polyline([[y, bounds.getWest()], [y, bounds.getEast()]], style));
  }
  for (let x = Math.floor(bounds.getWest() / lng) * lng; x < bounds.getEast(); x += lng) {
    grid.addLayer(L.polyline([[bounds.getSouth(), x], [bounds.getNorth(), x]], style));
  }
}
