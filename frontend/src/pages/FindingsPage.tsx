export function FindingsPage() {
  return <div className="page">…</div>
}
