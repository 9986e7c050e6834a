/** The role of the visitor, for controls that need one. */
import { createContext, useContext } from 'react'
import type { Role } from '@/api/types'

const ROLES: Role[] = ['read', 'write', 'admin']

/** The visitor's role. Until it is known everything is shown: the server refuses what it must. */
export const RoleContext = createContext<Role | null>('admin')

/** Why the visitor may not use a control that needs this role; undefined where they may. */
export function useRefusal(needs: Role | undefined): string | undefined {
  const role = useContext(RoleContext)
  if (needs === undefined || (role !== null && ROLES.indexOf(role) >= ROLES.indexOf(needs))) return undefined
  return role === null ? 'Sign in to do this.' : `This needs the role ${needs}; yours is ${role}.`
}
