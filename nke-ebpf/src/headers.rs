//! Headers
pub unsafe trait Header {}

#[repr(C)]
pub struct Ethernet {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    pub ethertype: [u8; 2],
}
unsafe impl Header for Ethernet {}
