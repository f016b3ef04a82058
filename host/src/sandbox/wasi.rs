//! A WASI that grants nothing: no files, sockets, name lookups, environment or arguments. A guest that uses one gets
//! WASI's own error, and the run's log records it.

use anyhow::Result;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::{
    p2::{
        SocketError, SocketResult,
        bindings::{
            cli::environment,
            clocks::monotonic_clock,
            filesystem::{preopens, types::Descriptor},
            sockets::{
                instance_network,
                network::{self, ErrorCode, IpAddressFamily, Network},
                tcp::TcpSocket,
                tcp_create_socket,
                udp::UdpSocket,
                udp_create_socket,
            },
        },
    },
    sockets::WasiSocketsView,
};

use super::state::RunState;

pub(super) fn add_to_linker(linker: &mut Linker<RunState>) -> Result<()> {
    let add = |linker: &mut Linker<RunState>| {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
        linker.allow_shadowing(true);
        preopens::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        environment::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        monotonic_clock::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        tcp_create_socket::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        udp_create_socket::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        instance_network::add_to_linker::<_, HasSelf<RunState>>(linker, |state| state)?;
        linker.allow_shadowing(false);
        Ok(())
    };
    add(linker).map_err(|error: wasmtime::Error| anyhow::Error::from(error))
}

impl preopens::Host for RunState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.log().tried("to open a file");
        Ok(Vec::new())
    }
}

impl environment::Host for RunState {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.log().tried("to read the environment");
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        self.log().tried("to read arguments");
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl tcp_create_socket::Host for RunState {
    fn create_tcp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        self.log().tried("to open a TCP socket");
        Err(ErrorCode::AccessDenied.into())
    }
}

impl udp_create_socket::Host for RunState {
    async fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        self.log().tried("to open a UDP socket");
        Err(ErrorCode::AccessDenied.into())
    }
}

/// The error types for the interfaces above.
impl network::Host for RunState {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl network::HostNetwork for RunState {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

/// Name lookups need it, and are refused there.
impl instance_network::Host for RunState {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        self.log().tried("to use the network");
        self.sockets().instance_network()
    }
}
