import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { client, unwrap } from '@/api/client'
import type { Decomposition } from '@/api/types'

/** Requests the weights if the server has none yet; after a failure, only on demand. */
export function useTarget(decomposition: Decomposition) {
  const queryClient = useQueryClient()
  const { id } = decomposition
  const want = useMutation({
    mutationFn: () => unwrap(client.POST('/api/decompositions/{id}/target', { params: { path: { id } } })),
    onSettled: () => queryClient.invalidateQueries({ queryKey: ['decomposition', id] }),
  })
  const { mutate, isIdle } = want
  const absent = decomposition.target.state === 'absent'
  useEffect(() => {
    if (absent && isIdle) mutate()
  }, [absent, isIdle, mutate])
  return want
}
