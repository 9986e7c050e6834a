export function FindingPage() {
  return <div className="page">…</div>
}
