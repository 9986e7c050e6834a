export function ComponentsPage() {
  return <div className="page">…</div>
}
