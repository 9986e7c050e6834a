/** The path that Unweave is served below, as the server wrote it into the page: `/unweave`, or nothing. */
export const ROOT = document.querySelector<HTMLMetaElement>('meta[name="unweave-root"]')?.content ?? ''

/** The address on this site of a path of Unweave, `/api/…` or `/f/…`. */
export function at(path: string): string {
  return ROOT + path
}
