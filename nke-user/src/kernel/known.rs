//! The first kernel that has what: helpers, types of maps and of programs, and functions of the
//! kernel that programs of the network call.
//!
//! From the history of include/uapi/linux/bpf.h, and for functions that of net/ and kernel/bpf/.
//! Distributions bring things to older kernels: whether the running one has something, its own
//! types tell better.
//!
//! ```ignore
//! assert_eq!(known::since(Kind::Helper, "redirect_peer"), Some(Version::new(5, 10)));
//! ```

use super::Version;

/// A kind of thing that a program needs from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A helper, by its number or its name without `bpf_`.
    Helper,
    /// A type of map.
    Map,
    /// A type of program.
    Program,
    /// A function that is called by name.
    Kfunc,
}

impl Kind {
    const fn table(self) -> &'static str {
        match self {
            Self::Helper => HELPERS,
            Self::Map => MAPS,
            Self::Program => PROGRAMS,
            Self::Kfunc => KFUNCS,
        }
    }
}

/// Names with the first kernel of each, in the table's order.
fn entries(kind: Kind) -> impl Iterator<Item = (&'static str, Version)> {
    kind.table().lines().flat_map(|line| {
        let (version, names) = line.split_once(' ').unwrap_or_default();
        let version = version.parse().unwrap_or(Version::new(0, 0));
        names.split(' ').map(move |name| (name, version))
    })
}

/// The first kernel that has this, if it is known.
pub(crate) fn since(kind: Kind, name: &str) -> Option<Version> {
    let mut entries = entries(kind);
    entries
        .find(|(known, _)| *known == name)
        .map(|(_, version)| version)
}

/// The number of a name, if it is known. Not for functions that are called by name.
pub(crate) fn number(kind: Kind, name: &str) -> Option<u32> {
    let at = entries(kind).position(|(known, _)| known == name)?;
    u32::try_from(at + 1).ok()
}

/// What the kernel calls a number of its enumeration, if it is known. Not for functions.
pub(crate) fn name(kind: Kind, number: u32) -> Option<&'static str> {
    let at = usize::try_from(number).ok()?.checked_sub(1)?;
    entries(kind).nth(at).map(|(name, _)| name)
}

/// `enum bpf_func_id`, from 1 on, without `bpf_`.
const HELPERS: &str = "\
3.19 map_lookup_elem map_update_elem map_delete_elem
4.1 probe_read ktime_get_ns trace_printk get_prandom_u32 get_smp_processor_id
4.1 skb_store_bytes l3_csum_replace l4_csum_replace
4.2 tail_call clone_redirect get_current_pid_tgid get_current_uid_gid get_current_comm
4.3 get_cgroup_classid skb_vlan_push skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key
4.3 perf_event_read
4.4 redirect get_route_realm perf_event_output
4.5 skb_load_bytes
4.6 get_stackid csum_diff skb_get_tunnel_opt skb_set_tunnel_opt
4.8 skb_change_proto skb_change_type skb_under_cgroup get_hash_recalc get_current_task
4.8 probe_write_user
4.9 current_task_under_cgroup skb_change_tail skb_pull_data csum_update set_hash_invalid
4.10 get_numa_node_id skb_change_head xdp_adjust_head
4.11 probe_read_str
4.12 get_socket_cookie get_socket_uid
4.13 set_hash setsockopt skb_adjust_room
4.14 redirect_map sk_redirect_map sock_map_update
4.15 xdp_adjust_meta perf_event_read_value perf_prog_read_value getsockopt
4.16 override_return sock_ops_cb_flags_set
4.17 msg_redirect_map msg_apply_bytes msg_cork_bytes msg_pull_data bind
4.18 xdp_adjust_tail skb_get_xfrm_state get_stack skb_load_bytes_relative fib_lookup
4.18 sock_hash_update msg_redirect_hash sk_redirect_hash lwt_push_encap lwt_seg6_store_bytes
4.18 lwt_seg6_adjust_srh lwt_seg6_action rc_repeat rc_keydown skb_cgroup_id
4.18 get_current_cgroup_id
4.19 get_local_storage sk_select_reuseport skb_ancestor_cgroup_id
4.20 sk_lookup_tcp sk_lookup_udp sk_release map_push_elem map_pop_elem map_peek_elem
4.20 msg_push_data
5.0 msg_pop_data rc_pointer_rel
5.1 spin_lock spin_unlock sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock
5.2 skc_lookup_tcp tcp_check_syncookie sysctl_get_name sysctl_get_current_value
5.2 sysctl_get_new_value sysctl_set_new_value strtol strtoul sk_storage_get
5.2 sk_storage_delete
5.3 send_signal
5.4 tcp_gen_syncookie
5.5 skb_output probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str
5.6 tcp_send_ack send_signal_thread jiffies64
5.7 read_branch_records get_ns_current_pid_tgid xdp_output get_netns_cookie
5.7 get_current_ancestor_cgroup_id sk_assign
5.8 ktime_get_boot_ns seq_printf seq_write sk_cgroup_id sk_ancestor_cgroup_id ringbuf_output
5.8 ringbuf_reserve ringbuf_submit ringbuf_discard ringbuf_query csum_level
5.9 skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
5.9 skc_to_udp6_sock get_task_stack
5.10 load_hdr_opt store_hdr_opt reserve_hdr_opt inode_storage_get inode_storage_delete d_path
5.10 copy_from_user snprintf_btf seq_printf_btf skb_cgroup_classid redirect_neigh per_cpu_ptr
5.10 this_cpu_ptr redirect_peer
5.11 task_storage_get task_storage_delete get_current_task_btf bprm_opts_set
5.11 ktime_get_coarse_ns ima_inode_hash sock_from_file
5.12 check_mtu
5.13 for_each_map_elem snprintf
5.14 sys_bpf btf_find_by_name_kind sys_close
5.15 timer_init timer_set_callback timer_start timer_cancel get_func_ip get_attach_cookie
5.15 task_pt_regs
5.16 get_branch_snapshot trace_vprintk skc_to_unix_sock kallsyms_lookup_name
5.17 find_vma loop strncmp get_func_arg get_func_ret get_func_arg_cnt
5.18 get_retval set_retval xdp_get_buff_len xdp_load_bytes xdp_store_bytes
5.18 copy_from_user_task skb_set_tstamp ima_file_hash
5.19 kptr_xchg map_lookup_percpu_elem skc_to_mptcp_sock dynptr_from_mem
5.19 ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr dynptr_read
5.19 dynptr_write dynptr_data
6.0 tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
6.0 tcp_raw_check_syncookie_ipv6
6.1 ktime_get_tai_ns user_ringbuf_drain
6.2 cgrp_storage_get cgrp_storage_delete
";

/// `enum bpf_map_type`, from 1 on.
const MAPS: &str = "\
3.19 hash array
4.2 prog_array
4.3 perf_event_array
4.6 percpu_hash percpu_array stack_trace
4.8 cgroup_array
4.10 lru_hash lru_percpu_hash
4.11 lpm_trie
4.12 array_of_maps hash_of_maps
4.14 devmap sockmap
4.15 cpumap
4.18 xskmap sockhash
4.19 cgroup_storage reuseport_sockarray
4.20 percpu_cgroup_storage queue stack
5.2 sk_storage
5.4 devmap_hash
5.6 struct_ops
5.8 ringbuf
5.10 inode_storage
5.11 task_storage
5.16 bloom_filter
6.1 user_ringbuf
6.2 cgrp_storage
6.9 arena
6.19 insn_array
";

/// `enum bpf_prog_type`, from 1 on.
const PROGRAMS: &str = "\
3.19 socket_filter
4.1 kprobe sched_cls sched_act
4.7 tracepoint
4.8 xdp
4.9 perf_event
4.10 cgroup_skb cgroup_sock lwt_in lwt_out lwt_xmit
4.13 sock_ops
4.14 sk_skb
4.15 cgroup_device
4.17 sk_msg raw_tracepoint cgroup_sock_addr
4.18 lwt_seg6local lirc_mode2
4.19 sk_reuseport
4.20 flow_dissector
5.2 cgroup_sysctl raw_tracepoint_writable
5.3 cgroup_sockopt
5.5 tracing
5.6 struct_ops ext
5.7 lsm
5.9 sk_lookup
5.14 syscall
6.4 netfilter
";

/// Functions of the kernel; there are others.
const KFUNCS: &str = "\
5.18 bpf_ct_release bpf_skb_ct_lookup bpf_xdp_ct_lookup
6.0 bpf_ct_change_status bpf_ct_change_timeout bpf_ct_insert_entry bpf_ct_set_status
6.0 bpf_ct_set_timeout bpf_skb_ct_alloc bpf_xdp_ct_alloc
6.1 bpf_ct_set_nat_info
6.2 bpf_cast_to_kern_ctx bpf_cgroup_acquire bpf_cgroup_ancestor bpf_cgroup_release
6.2 bpf_list_pop_back bpf_list_pop_front bpf_obj_drop_impl bpf_obj_new_impl
6.2 bpf_rcu_read_lock bpf_rcu_read_unlock bpf_rdonly_cast bpf_skb_get_xfrm_info
6.2 bpf_skb_set_xfrm_info bpf_task_acquire bpf_task_from_pid bpf_task_release
6.3 bpf_rbtree_first bpf_rbtree_remove bpf_xdp_metadata_rx_hash
6.3 bpf_xdp_metadata_rx_timestamp
6.4 bpf_cgroup_from_id bpf_dynptr_from_skb bpf_dynptr_from_xdp bpf_dynptr_slice
6.4 bpf_dynptr_slice_rdwr bpf_iter_num_destroy bpf_iter_num_new bpf_iter_num_next
6.4 bpf_list_push_back_impl bpf_list_push_front_impl bpf_rbtree_add_impl
6.4 bpf_refcount_acquire_impl bpf_skb_get_fou_encap bpf_skb_set_fou_encap
6.5 bpf_dynptr_adjust bpf_dynptr_clone bpf_dynptr_is_null bpf_dynptr_is_rdonly
6.5 bpf_dynptr_size bpf_sock_destroy bpf_task_under_cgroup
6.7 bpf_percpu_obj_drop_impl bpf_percpu_obj_new_impl bpf_sock_addr_set_sun_path bpf_throw
6.8 bpf_task_get_cgroup1 bpf_xdp_get_xfrm_state bpf_xdp_metadata_rx_vlan_tag
6.8 bpf_xdp_xfrm_state_release
6.9 bpf_sk_assign_tcp_reqsk
6.10 bpf_crypto_ctx_acquire bpf_crypto_ctx_create bpf_crypto_ctx_release bpf_crypto_decrypt
6.10 bpf_crypto_encrypt bpf_preempt_disable bpf_preempt_enable
6.11 bpf_xdp_flow_lookup
6.13 bpf_task_from_vpid
6.14 bpf_local_irq_restore bpf_local_irq_save
6.15 bpf_dynptr_copy bpf_res_spin_lock bpf_res_spin_lock_irqsave bpf_res_spin_unlock
6.15 bpf_res_spin_unlock_irqrestore bpf_sock_ops_enable_tx_tstamp
6.16 bpf_copy_from_user_dynptr bpf_copy_from_user_str_dynptr bpf_copy_from_user_task_dynptr
6.16 bpf_copy_from_user_task_str_dynptr bpf_kfree_skb bpf_list_back bpf_list_front
6.16 bpf_probe_read_kernel_dynptr bpf_probe_read_kernel_str_dynptr bpf_probe_read_user_dynptr
6.16 bpf_probe_read_user_str_dynptr bpf_qdisc_bstats_update bpf_qdisc_init_prologue
6.16 bpf_qdisc_reset_destroy_epilogue bpf_qdisc_skb_drop bpf_qdisc_watchdog_schedule
6.16 bpf_rbtree_left bpf_rbtree_right bpf_rbtree_root bpf_skb_get_hash
6.17 bpf_cgroup_read_xattr bpf_dynptr_memset
6.18 bpf_dynptr_from_skb_meta bpf_xdp_pull_data
6.19 bpf_dynptr_file_discard bpf_dynptr_from_file
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let check = |kind, number, expected: &str, major, minor| {
            assert_eq!(name(kind, number), Some(expected));
            assert_eq!(super::number(kind, expected), Some(number));
            assert_eq!(since(kind, expected), Some(Version::new(major, minor)));
        };
        check(Kind::Helper, 1, "map_lookup_elem", 3, 19);
        check(Kind::Helper, 7, "get_prandom_u32", 4, 1);
        check(Kind::Helper, 51, "redirect_map", 4, 14);
        check(Kind::Helper, 131, "ringbuf_reserve", 5, 8);
        check(Kind::Helper, 155, "redirect_peer", 5, 10);
        check(Kind::Helper, 187, "set_retval", 5, 18);
        check(Kind::Helper, 211, "cgrp_storage_delete", 6, 2);
        check(Kind::Map, 1, "hash", 3, 19);
        check(Kind::Map, 24, "sk_storage", 5, 2);
        check(Kind::Map, 27, "ringbuf", 5, 8);
        check(Kind::Program, 6, "xdp", 4, 8);
        check(Kind::Program, 31, "syscall", 5, 14);
        check(Kind::Program, 32, "netfilter", 6, 4);
        assert_eq!(
            since(Kind::Kfunc, "bpf_dynptr_from_skb"),
            Some(Version::new(6, 4))
        );
        for kind in [Kind::Helper, Kind::Map, Kind::Program] {
            assert_eq!((name(kind, 0), name(kind, u32::MAX)), (None, None));
            assert!(entries(kind).all(|(_, since)| since > Version::new(3, 0)));
        }
        assert_eq!(since(Kind::Helper, ""), None);
    }

    #[test]
    fn the_running_kernel_numbers_them_alike() {
        use aya_obj::generated::{bpf_func_id, bpf_map_type, bpf_prog_type};
        let is = |kind, number, expected: String| {
            assert_eq!(name(kind, number).map(str::to_owned), Some(expected));
        };
        let last = |name: String, prefix: &str| name.trim_start_matches(prefix).to_lowercase();
        let helper = bpf_func_id::BPF_FUNC_user_ringbuf_drain;
        is(
            Kind::Helper,
            helper as u32,
            last(format!("{helper:?}"), "BPF_FUNC_"),
        );
        let map = bpf_map_type::BPF_MAP_TYPE_BLOOM_FILTER;
        is(
            Kind::Map,
            map as u32,
            last(format!("{map:?}"), "BPF_MAP_TYPE_"),
        );
        let program = bpf_prog_type::BPF_PROG_TYPE_SK_LOOKUP;
        is(
            Kind::Program,
            program as u32,
            last(format!("{program:?}"), "BPF_PROG_TYPE_"),
        );
    }
}
