//! What the functions of the table take: the forms for which the programs are right. A function whose parameters are in
//! none of its forms is not probed.

/// One form of a function.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub function: &'static str,
    /// Types of its parameters, as in C without qualifiers. `_` is any; `...` at the end is any number of any.
    pub takes: &'static str,
    /// True if a kernel with old iterators ([`Meant::OldIterators`](super::Meant)) has it in this form where its BTF does
    /// not tell: 5.10 describes no module's functions, and an old pahole no static ones.
    pub untold: bool,
}

/// Programs look at nothing but the return value.
const ANY: &str = "...";
const ITER_CALL: &str = "struct kiocb *, struct iov_iter *";
const SKB_BITS: &str = "struct sk_buff *, int, void *, int";
const CHECKSUM: &str = "void *, void *, int";
const INTERRUPT: &str = "struct pt_regs *, ...";
const SOCKET: &str = "struct socket *, ...";

const fn form(function: &'static str, takes: &'static str) -> Form {
    Form { function, takes, untold: false }
}
const fn untold(form: Form) -> Form {
    Form { untold: true, ..form }
}

/// By file of the table.
pub const FORMS: &[Form] = &[
    // user.rs
    form("__check_object_size", "void *, unsigned long, bool"),
    form("filemap_read", "struct kiocb *, struct iov_iter *, ssize_t"),
    untold(form("generic_file_buffered_read", "struct kiocb *, struct iov_iter *, ssize_t")),
    untold(form("shmem_file_read_iter", ITER_CALL)),
    form("seq_read_iter", ITER_CALL),
    untold(form("hugetlbfs_read_iter", ITER_CALL)),
    form("anon_pipe_read", ITER_CALL),
    untold(form("pipe_read", ITER_CALL)),
    untold(form("pipe_to_user", "_, _, _")),
    untold(form("get_random_bytes_user", "struct iov_iter *")),
    form("dax_iomap_rw", "struct kiocb *, struct iov_iter *, struct iomap_ops *"),
    form("generic_perform_write", ITER_CALL),
    // 5.10.
    form("generic_perform_write", "struct file *, struct iov_iter *, loff_t"),
    form("iomap_file_buffered_write", "struct kiocb *, struct iov_iter *, struct iomap_ops *, ..."),
    form("fuse_perform_write", ITER_CALL),
    // 5.10 and 6.1.
    untold(form("fuse_perform_write", "struct kiocb *, struct address_space *, struct iov_iter *, loff_t")),
    form("anon_pipe_write", ITER_CALL),
    untold(form("pipe_write", ITER_CALL)),
    form("skb_copy_datagram_from_iter", "struct sk_buff *, int, struct iov_iter *, int"),
    form("__access_remote_vm", ANY),
    // descriptor.rs
    untold(form("eventfd_read", ITER_CALL)),
    form("eventfd_write", ANY),
    form("timerfd_read_iter", ITER_CALL),
    form("timerfd_read", ANY),
    form("signalfd_read_iter", ITER_CALL),
    form("signalfd_read", ANY),
    form("inotify_read", ANY),
    form("fanotify_read", ANY),
    form("userfaultfd_read_iter", ITER_CALL),
    form("userfaultfd_read", ANY),
    form("evdev_read", ANY),
    form("evdev_write", ANY),
    form("uinput_write", ANY),
    // kernel.rs
    form("copy_mc_to_kernel", "void *, void *, unsigned int"),
    untold(form("wp_page_copy", "struct vm_fault *")),
    form("copy_user_huge_page", "_, _, _, _, unsigned int"),
    form("skb_copy_bits", SKB_BITS),
    form("skb_store_bits", SKB_BITS),
    form("skb_copy_ubufs", "struct sk_buff *, gfp_t"),
    form("pskb_expand_head", "struct sk_buff *, int, int, gfp_t"),
    form("__pskb_copy_fclone", "struct sk_buff *, int, gfp_t, bool"),
    form("swiotlb_bounce", "_, phys_addr_t, size_t, enum dma_data_direction, ..."),
    form("csum_and_copy_from_user", CHECKSUM),
    form("csum_and_copy_to_user", CHECKSUM),
    form("skb_copy_and_csum_bits", SKB_BITS),
    form("tls_sw_sendmsg", ANY),
    form("tls_sw_sendpage", ANY),
    form("tls_sw_recvmsg", ANY),
    // file.rs
    untold(form("fuse_copy_do", "struct fuse_copy_state *, void **, unsigned int *")),
    untold(form(
        "pmem_do_write",
        "struct pmem_device *, struct page *, unsigned int, sector_t, unsigned int",
    )),
    untold(form("brd_submit_bio", "struct bio *")),
    form("fuse_direct_io", ANY),
    form("nfs_file_direct_read", ANY),
    form("nfs_file_direct_write", ANY),
    form("netfs_unbuffered_read_iter_locked", ANY),
    form("netfs_unbuffered_write_iter_locked", ANY),
    form("v9fs_direct_IO", ANY),
    form("btrfs_remap_file_range", ANY),
    form("xfs_file_remap_range", ANY),
    // reference.rs
    form("skb_zerocopy_iter_stream", "_, _, _, _, struct ubuf_info *"),
    form("skb_zerocopy_iter_stream", "_, _, _, _, struct ubuf_info *, _"),
    untold(form("tcp_zerocopy_receive", "struct sock *, struct tcp_zerocopy_receive *")),
    form("tcp_zerocopy_receive", "struct sock *, struct tcp_zerocopy_receive *, _"),
    form("splice_file_to_pipe", "struct file *, ..."),
    // discard.rs
    form("write_null", ANY),
    form("write_iter_null", ANY),
    form("splice_write_null", ANY),
    form("read_zero", ANY),
    untold(form("read_iter_zero", ITER_CALL)),
    // mark.rs
    form("do_splice", "struct file *, _, struct file *, _, _, _"),
    form("splice_direct_to_actor", ANY),
    form("tctx_task_work", ANY),
    form("fixup_exception", "struct pt_regs *, int, _, _"),
    form("vfs_coredump", ANY),
    form("do_coredump", ANY),
    form("kthread_use_mm", "struct mm_struct *"),
    form("kthread_unuse_mm", ANY),
    // switch.rs
    form("__sysvec_apic_timer_interrupt", INTERRUPT),
    form("__common_interrupt", INTERRUPT),
    form("__sysvec_call_function", INTERRUPT),
    form("__sysvec_call_function_single", INTERRUPT),
    // device.rs
    form("bio_endio", "struct bio *"),
    form("sk_filter_trim_cap", "struct sock *, struct sk_buff *, ..."),
    form("security_socket_sendmsg", SOCKET),
    form("inet_sendpage", SOCKET),
    form("security_socket_recvmsg", SOCKET),
    form("tcp_splice_read", SOCKET),
    form("security_socket_accept", SOCKET),
    form("security_socket_connect", SOCKET),
    form("inet_csk_clone_lock", "struct sock *, _, _"),
    form("security_sk_free", "struct sock *"),
];

/// The forms of a function.
pub fn forms(function: &str) -> impl Iterator<Item = &'static Form> {
    FORMS.iter().filter(move |form| form.function == function)
}

impl Form {
    /// True if parameters of these types are in this form. Of structures, which programs read, the name has to be the
    /// same; of other pointers and of numbers, that they are such.
    pub fn fits<'a>(&self, params: impl IntoIterator<Item = &'a str>) -> bool {
        let mut params = params.into_iter();
        for wanted in self.takes.split(", ") {
            match (wanted, params.next()) {
                ("...", _) => return true,
                (_, None) => return false,
                (wanted, Some(param)) if wanted != "_" && class(wanted) != class(param) => return false,
                _ => {}
            }
        }
        params.next().is_none()
    }

    /// Number of parameters; `None` if it may be any.
    pub fn args(&self) -> Option<usize> {
        (!self.takes.ends_with("...")).then(|| self.takes.split(", ").count())
    }
}

/// What two types must have in common.
#[derive(PartialEq)]
enum Class<'a> {
    Structure(&'a str),
    Pointer,
    Number,
}

fn class(ty: &str) -> Class<'_> {
    match ty.strip_suffix('*') {
        Some(_) if ty.starts_with("struct ") => Class::Structure(ty),
        Some(_) => Class::Pointer,
        None => Class::Number,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Method, ROWS};
    use super::*;

    #[test]
    fn every_function_has_a_form() {
        for way in ROWS.iter().flat_map(|row| row.ways) {
            let is_function = matches!(way.method, Method::Trampoline | Method::Kprobe);
            let number = usize::from(way.args);
            let known = |form: &Form| number == 0 || form.args().is_none_or(|args| args == number);
            assert!(!is_function || forms(way.symbol).any(known), "{} with {number}", way.symbol);
        }
        for form in FORMS {
            let used = ROWS.iter().flat_map(|row| row.ways).any(|way| way.symbol == form.function);
            assert!(used, "{} is not in the table", form.function);
        }
    }

    #[test]
    fn a_structure_is_told_by_its_name_and_a_number_by_being_one() {
        let call = form("f", "struct kiocb *, size_t, void *, _");
        assert!(call.fits(["struct kiocb *", "long unsigned int", "loff_t *", "bool"]));
        assert!(!call.fits(["struct file *", "long unsigned int", "loff_t *", "bool"]), "another structure");
        assert!(!call.fits(["struct kiocb *", "char *", "loff_t *", "bool"]), "no number");
        assert!(!call.fits(["struct kiocb *", "int", "struct page *", "bool"]), "a structure for bytes");
        assert!(!call.fits(["struct kiocb *", "int", "char *"]) && call.args() == Some(4));
        assert!(!call.fits(["struct kiocb *", "int", "char *", "int", "int"]), "one too many");
        let open = form("f", "struct sock *, ...");
        assert!(open.fits(["struct sock *"]) && open.fits(["struct sock *", "int"]) && open.args().is_none());
        assert!(!open.fits([]) && form("f", ANY).fits([]));
    }
}
