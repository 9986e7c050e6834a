const PATHS = {
  close: 'M4 4l8 8M12 4l-8 8',
  edit: 'M3 13l.6-2.8 7.2-7.2 2.2 2.2-7.2 7.2L3 13z',
  trash: 'M3 4.5h10M6.5 4V2.8h3V4M4.5 4.5l.6 8.7h5.8l.6-8.7',
  plus: 'M8 3v10M3 8h10',
  sun: 'M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6zM8 1.3v1.4M8 13.3v1.4M1.3 8h1.4M13.3 8h1.4M3.3 3.3l1 1M11.7 11.7l1 1M3.3 12.7l1-1M11.7 4.3l1-1',
  moon: 'M13.2 9.6A5.6 5.6 0 016.4 2.8a5.6 5.6 0 106.8 6.8z',
  share: 'M8 10V2.5M5 5l3-3 3 3M3 9v4.2h10V9',
  save: 'M8 2.5V10M5 7.2L8 10.2l3-3M3 10.5v2.7h10v-2.7',
  down: 'M4 6l4 4 4-4',
  right: 'M6 4l4 4-4 4',
  left: 'M10 4L6 8l4 4',
  eye: 'M1.5 8S4 3.7 8 3.7 14.5 8 14.5 8 12 12.3 8 12.3 1.5 8 1.5 8zM8 6.3a1.7 1.7 0 100 3.4 1.7 1.7 0 000-3.4z',
  again: 'M13 8a5 5 0 11-1.6-3.7M13 2.5v3h-3',
  check: 'M3 8.5l3.2 3.2L13 4.8',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }) {
  return (
    <svg viewBox="0 0 16 16" className="icon-svg" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
