use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use muster_cluster::types::Timestamp;
use muster_proto::enterprise_v2::api_client::ApiClient as EnterpriseClient;
use muster_proto::enterprise_v2::{
    ActivateRequest, DeactivateRequest, GetActivationCodeRequest, GetStateRequest,
    HeartbeatRequest as BeatNow, LicenseRecord, State,
};
use muster_proto::license_v2::api_server::{Api, ApiServer};
use muster_proto::license_v2::{
    ActivateRequest as ActivateLicense, ActivateResponse, AddClusterRequest, AddClusterResponse,
    DeleteAllRequest, DeleteAllResponse, DeleteClusterRequest, DeleteClusterResponse,
    GetActivationCodeRequest as GetLicense, GetActivationCodeResponse, HeartbeatRequest,
    HeartbeatResponse, ListClustersRequest, ListClustersResponse, ListUserClustersRequest,
    ListUserClustersResponse, UpdateClusterRequest, UpdateClusterResponse,
};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, async_trait};

use super::*;
use crate::entropy::SystemEntropy;

/// A license server of the tests: it answers heartbeats and registrations as it is told.
#[derive(Clone, Debug, Default)]
struct LicenseServer {
    told: Arc<Mutex<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    answer: Answer,
    beats: Vec<HeartbeatRequest>,
    added: Vec<AddClusterRequest>,
    updated: Vec<UpdateClusterRequest>,
    is_taken: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Answer {
    #[default]
    License,
    Refusal,
    Outage,
}

type Answered<T> = Result<Response<T>, Status>;

fn unused<T>() -> Answered<T> {
    Err(Status::unimplemented("not in these tests"))
}

#[async_trait]
impl Api for LicenseServer {
    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Answered<HeartbeatResponse> {
        let mut told = self.told.lock().unwrap();
        told.beats.push(request.into_inner());
        match told.answer {
            Answer::License => Ok(Response::new(HeartbeatResponse {
                license: Some(LicenseRecord {
                    activation_code: "code".to_owned(),
                    expires: Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
                }),
            })),
            Answer::Refusal => Err(Status::unimplemented("cluster ID or secret is not valid")),
            Answer::Outage => Err(Status::unavailable("no leader")),
        }
    }

    async fn add_cluster(
        &self,
        request: Request<AddClusterRequest>,
    ) -> Answered<AddClusterResponse> {
        let mut told = self.told.lock().unwrap();
        if told.is_taken {
            return Err(Status::unimplemented("cluster ID is not unique"));
        }
        told.is_taken = true;
        let request = request.into_inner();
        let secret = request.secret.clone();
        told.added.push(request);
        Ok(Response::new(AddClusterResponse { secret }))
    }

    async fn update_cluster(
        &self,
        request: Request<UpdateClusterRequest>,
    ) -> Answered<UpdateClusterResponse> {
        self.told.lock().unwrap().updated.push(request.into_inner());
        Ok(Response::new(UpdateClusterResponse {}))
    }

    async fn activate(&self, _: Request<ActivateLicense>) -> Answered<ActivateResponse> {
        unused()
    }

    async fn get_activation_code(
        &self,
        _: Request<GetLicense>,
    ) -> Answered<GetActivationCodeResponse> {
        unused()
    }

    async fn delete_all(&self, _: Request<DeleteAllRequest>) -> Answered<DeleteAllResponse> {
        unused()
    }

    async fn delete_cluster(
        &self,
        _: Request<DeleteClusterRequest>,
    ) -> Answered<DeleteClusterResponse> {
        unused()
    }

    async fn list_clusters(
        &self,
        _: Request<ListClustersRequest>,
    ) -> Answered<ListClustersResponse> {
        unused()
    }

    async fn list_user_clusters(
        &self,
        _: Request<ListUserClustersRequest>,
    ) -> Answered<ListUserClustersResponse> {
        unused()
    }
}

/// A clock that stands where it is put.
#[derive(Clone, Debug, Default)]
struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    server: LicenseServer,
    address: String,
    folder: tempfile::TempDir,
    clock: SetClock,
}

impl World {
    async fn new() -> World {
        let server = LicenseServer::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = ApiServer::new(server.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let folder = tempfile::tempdir().unwrap();
        World { server, address, folder, clock: SetClock::default() }
    }

    fn options(&self) -> Options {
        Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            record: self.folder.path().join("agent.json"),
            interval: Duration::from_hours(1),
            version: Version { major: 2, minor: 11, micro: 6, ..Version::default() },
            deployment_id: Some("dep-1".to_owned()),
            roots: Roots::System,
            registration: None,
        }
    }

    /// Starts an agent, as often as wanted on the same record.
    async fn agent(&self, options: Options) -> (EnterpriseClient<Channel>, impl Future) {
        let clock = Arc::new(self.clock.clone());
        let agent = Agent::bind(options, clock, Arc::new(SystemEntropy)).await.unwrap();
        let address = agent.address();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(agent.serve(async {
            let _ = stopped.await;
        }));
        let client = EnterpriseClient::connect(format!("http://{address}")).await.unwrap();
        (client, async move {
            drop(stop);
            serving.await.unwrap().unwrap();
        })
    }

    fn answer(&self, answer: Answer) {
        self.server.told.lock().unwrap().answer = answer;
    }

    fn beats(&self) -> usize {
        self.server.told.lock().unwrap().beats.len()
    }

    fn tie(&self) -> ActivateRequest {
        ActivateRequest {
            license_server: self.address.clone(),
            id: "pach".to_owned(),
            secret: "secret".to_owned(),
        }
    }
}

async fn state(client: &mut EnterpriseClient<Channel>) -> State {
    client.get_state(GetStateRequest {}).await.unwrap().into_inner().state()
}

/// Asks until it is so; the suite's own limit ends a wait in vain.
async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
}

#[tokio::test]
async fn a_member_is_tied_beats_and_survives_its_restart() {
    let world = World::new().await;
    let (mut client, stop) = world.agent(world.options()).await;
    assert_eq!(state(&mut client).await, State::None);
    let untied = client.heartbeat(BeatNow {}).await.unwrap_err();
    assert_eq!(untied.message(), "cluster does not have enterprise features enabled");
    client.activate(world.tie()).await.unwrap();
    assert_eq!(state(&mut client).await, State::Active);
    let beat = world.server.told.lock().unwrap().beats.first().cloned().unwrap();
    assert_eq!((beat.id.as_str(), beat.version.as_str()), ("pach", "2.11.6"));
    drop(client);
    stop.await;

    // The license server is away: the license holds until its own end.
    world.answer(Answer::Outage);
    let before = world.beats();
    let (mut client, _stop) = world.agent(world.options()).await;
    until(async || world.beats() > before).await;
    assert_eq!(state(&mut client).await, State::Active);
    let code = client.get_activation_code(GetActivationCodeRequest {}).await.unwrap();
    assert_eq!(code.into_inner().activation_code, "code");
    let failed = client.heartbeat(BeatNow {}).await.unwrap_err();
    assert_eq!(failed.code(), tonic::Code::Unavailable);
    world.clock.0.store(1_000_000_001, Ordering::SeqCst);
    assert_eq!(state(&mut client).await, State::Expired);
}

#[tokio::test]
async fn only_the_servers_word_switches_a_member_off_and_the_next_answer_on_again() {
    let world = World::new().await;
    let (mut client, _stop) = world.agent(world.options()).await;
    client.activate(world.tie()).await.unwrap();
    world.answer(Answer::Refusal);
    client.heartbeat(BeatNow {}).await.unwrap();
    let refused = client.get_state(GetStateRequest {}).await.unwrap().into_inner();
    assert_eq!(refused.state(), State::HeartbeatFailed);
    assert!(refused.info.is_some());
    assert!(client.activate(world.tie()).await.is_err());
    assert_eq!(state(&mut client).await, State::HeartbeatFailed);
    world.answer(Answer::License);
    client.heartbeat(BeatNow {}).await.unwrap();
    assert_eq!(state(&mut client).await, State::Active);
    for _ in 0..2 {
        client.deactivate(DeactivateRequest {}).await.unwrap();
        assert_eq!(state(&mut client).await, State::None);
    }
}

#[tokio::test]
async fn heartbeats_come_on_their_interval() {
    let world = World::new().await;
    let options = Options { interval: Duration::from_millis(100), ..world.options() };
    let (mut client, _stop) = world.agent(options).await;
    client.activate(world.tie()).await.unwrap();
    until(async || world.beats() >= 5).await;
}

#[tokio::test]
async fn a_member_registers_itself_and_updates_what_is_there() {
    let world = World::new().await;
    let registering = || Options {
        registration: Some(Registration {
            server: world.address.clone(),
            token: None,
            id: "pach".to_owned(),
            secret: None,
            address: "grpc://pach:30650".to_owned(),
            user_address: String::new(),
        }),
        ..world.options()
    };
    let (client, stop) = world.agent(registering()).await;
    let active = async |client: &EnterpriseClient<Channel>| {
        state(&mut client.clone()).await == State::Active
    };
    until(async || active(&client).await).await;
    drop(client);
    stop.await;
    let (client, _stop) = world.agent(registering()).await;
    until(async || !world.server.told.lock().unwrap().updated.is_empty()).await;
    until(async || active(&client).await).await;
    let told = world.server.told.lock().unwrap();
    let (added, updated) = (told.added.first().unwrap(), told.updated.first().unwrap());
    assert_eq!(added.cluster_deployment_id, "dep-1");
    assert_eq!(added.secret, updated.secret, "the secret is kept");
}

#[tokio::test]
async fn a_license_server_that_is_no_address_is_named_as_such() {
    let world = World::new().await;
    let (mut client, _stop) = world.agent(world.options()).await;
    let tie = ActivateRequest { license_server: String::new(), ..world.tie() };
    let status = client.activate(tie).await.unwrap_err();
    assert_eq!(status.message(), "could not parse the pachd address: no pachd address specified");
    assert_eq!(state(&mut client).await, State::None);
}
