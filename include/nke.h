/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * nke: what programs need to know of Network Kernel Extensions.
 *
 * A program opts its own socket in for an extension that was attached with --opt-in:
 *
 *     struct so_nke nke = { .nke_name = "packet-filter" };
 *     setsockopt(fd, SOL_NKE, SO_NKE, &nke, sizeof(nke));
 *
 * EINVAL       the length is less than that of a struct so_nke, or no extension of this name is
 *              attached with --opt-in to the socket's cgroup or to one above it
 * EEXIST       the socket has opted in already
 * ENOPROTOOPT, EOPNOTSUPP   nothing is attached with --opt-in there at all
 *
 * The option cannot be read back. It lasts until the socket is closed, or the extension's last
 * attachment of this kind is detached. Needs Linux 5.18.
 */
#ifndef NKE_H
#define NKE_H

#define SOL_NKE 0x4e4b45
#define SO_NKE 0x1021
#define NKE_NAME_LEN 64

struct so_nke {
	char nke_name[NKE_NAME_LEN]; /* the extension's name, ended by a zero */
};

#endif
