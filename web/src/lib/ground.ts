// What lies under a map's cameras: the ward's own plan or tiles where the centre has them, else lines every 10, 20, 50 …
// metres, so that distances can be seen. Nothing is fetched from anywhere else.

import L from 'leaflet';
import { api } from './api';
import { gridStep, metres } from './camera';
import type { MapGround } from './types';

/** A map that neither glides nor fades, for whom movement disturbs. */
export function stillness(): L.MapOptions {
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  return still ? { zoomAnimation: false, fadeAnimation: false, markerZoomAnimation: false, inertia: false } : {};
}

export class Ground {
  #grid: L.LayerGroup;
  #covered = false;

  constructor(private readonly map: L.Map) {
    this.#grid = L.layerGroup().addTo(map);
    map.on('moveend zoomend', () => this.#draw());
  }

  /** Where the plan lies, if there is one. */
  lay({ plan, tiles }: MapGround): L.LatLngBounds | null {
    if (tiles) L.tileLayer(api.tilesUrl(), { className: 'under', minNativeZoom: tiles.min_zoom, maxNativeZoom: tiles.max_zoom, maxZoom: 21 }).addTo(this.map);
    const bounds = plan ? L.latLngBounds(plan.corners) : null;
    if (bounds) L.imageOverlay(api.planUrl(), bounds, { className: 'under' }).addTo(this.map);
    this.#covered = Boolean(plan || tiles);
    this.#draw();
    return bounds;
  }

  #draw(): void {
    this.#grid.clearLayers();
    if (this.#covered) return;
    const bounds = this.map.getBounds();
    const centre = bounds.getCenter();
    const beside: [number, number] = [centre.lat, centre.lng + 0.001];
    const perPixel = metres([centre.lat, centre.lng], beside) / (this.map.project(beside).x - this.map.project(centre).x);
    const step = gridStep(perPixel * 90);
    const lat = step / 111_320;
    const lng = step / (111_320 * Math.cos((centre.lat * Math.PI) / 180));
    const style = { className: 'gridline', weight: 1, interactive: false };
    for (let y = Math.floor(bounds.getSouth() / lat) * lat; y < bounds.getNorth(); y += lat) {
      this.#grid.addLayer(L.polyline([[y, bounds.getWest()], [y, bounds.getEast()]], style));
    }
    for (let x = Math.floor(bounds.getWest() / lng) * lng; x < bounds.getEast(); x += lng) {
      this.#grid.addLayer(L.polyline([[bounds.getSouth(), x], [bounds.getNorth(), x]], style));
    }
  }
}
