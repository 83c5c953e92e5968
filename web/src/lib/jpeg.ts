// Pictures that come inside JSON. The page's policy forbids data: addresses.

export function jpegOf(base64: string): Blob {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new Blob([bytes], { type: 'image/jpeg' });
}

/** Shows it in an image, and lets go of it with the image. */
export function picture(image: HTMLImageElement, base64: string) {
  let address = URL.createObjectURL(jpegOf(base64));
  image.src = address;
  return {
    update(next: string) {
      URL.revokeObjectURL(address);
      address = URL.createObjectURL(jpegOf(next));
      image.src = address;
    },
    destroy: () => URL.revokeObjectURL(address),
  };
}
